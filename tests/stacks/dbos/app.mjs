// A service on DBOS, of whichever version of the SDK APP_VERSION pins.
//
//	APP_VERSION         of @dbos-inc/dbos-sdk, installed in PACKAGES/dbos-APP_VERSION
//	APP_NAME            the application's name; its applicationVersion is APP_NAME-1, whatever the SDK: workflows of the old SDK
//	                    are then recovered under the new one
//	DATABASE_URL        the system database, as the unprivileged role; also holds app.steps, one row for each execution of a step
//	PORT
//
//	GET  /health                {status, version, database, schema}; 503 when the database does not answer
//	POST /workflows/ID          {steps, step_ms, hold_after, kill_after}: starts a workflow whose steps return 1, 2, …; its result is
//	                            the sum.  hold_after: it stays behind that step as long as this process lives; kill_after: this
//	                            process ends by SIGKILL there.  Neither holds after a recovery.
//	GET  /workflows/ID          {id, status, output}; GET /workflows: all of them, one "ID STATUS OUTPUT" line each
//	GET  /workflows/finished     those that have a result, one "ID OUTPUT" line each
//	POST /wait/ID               the result, when there is one
//	GET  /steps                 one "ID STEP EXECUTIONS VERSIONS" line for each step
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';

const { APP_VERSION: version, APP_NAME: name, PACKAGES, DATABASE_URL: url, PORT } = process.env;
const require = createRequire(`${PACKAGES}/dbos-${version}/package.json`);
const { DBOS } = require('@dbos-inc/dbos-sdk');
const pg = createRequire(require.resolve('@dbos-inc/dbos-sdk'))('pg');
const installed = JSON.parse(fs.readFileSync(`${PACKAGES}/dbos-${version}/node_modules/@dbos-inc/dbos-sdk/package.json`)).version;

const pool = new pg.Pool({ connectionString: url, max: 3 });
pool.on('error', (e) => console.error(`pool: ${e.message}`));
const asked = new Map(); // what this process was asked to do to a workflow

async function step(id, number, ms) {
	await pool.query('INSERT INTO app.steps (workflow, step, version) VALUES ($1, $2, $3)', [id, number, installed]);
	if (ms) await new Promise((resolve) => setTimeout(resolve, ms));
	return number;
}

async function sum(steps, ms) {
	const id = DBOS.workflowID;
	let total = 0;
	for (let i = 1; i <= steps; i++) {
		total += await DBOS.runStep(() => step(id, i, ms), { name: `step_${i}` });
		if (asked.get(id)?.kill_after === i) process.kill(process.pid, 'SIGKILL');
		if (asked.get(id)?.hold_after === i) {
			asked.get(id).held();
			await new Promise(() => {});
		}
	}
	return total;
}
const workflow = DBOS.registerWorkflow(sum, { name: 'sum' });

async function health() {
	try {
		const { rows: [row] } = await pool.query('SELECT version FROM dbos.dbos_migrations');
		return [200, { status: 'ok', version: installed, application: name, database: 'ok', schema: Number(row.version) }];
	} catch (e) {
		return [503, { status: 'degraded', version: installed, application: name, database: e.message }];
	}
}

async function begin({ rest: id, body }) {
	const held = new Promise((resolve) => asked.set(id, { ...body, held: resolve }));
	await DBOS.startWorkflow(workflow, { workflowID: id })(body.steps ?? 2, body.step_ms ?? 0);
	if (body.hold_after) await held;
	return [200, { id }];
}

async function show({ rest: id }) {
	const found = await DBOS.getWorkflowStatus(id);
	return found ? [200, { id, status: found.status, output: found.output ?? null }] : [404, { error: `no workflow ${id}` }];
}

async function list() {
	const all = await DBOS.listWorkflows({});
	return [200, all.map((w) => `${w.workflowID} ${w.status} ${w.output ?? '-'}\n`).sort().join('')];
}

async function finished() {
	const all = await DBOS.listWorkflows({ status: 'SUCCESS' });
	return [200, all.map((w) => `${w.workflowID} ${w.output}\n`).sort().join('')];
}

async function steps() {
	const { rows } = await pool.query(`SELECT workflow, step, count(*) AS times, string_agg(version, ',' ORDER BY at) AS versions
		FROM app.steps GROUP BY 1, 2 ORDER BY 1, 2`);
	return [200, rows.map((r) => `${r.workflow} ${r.step} ${r.times} ${r.versions}\n`).join('')];
}

DBOS.setConfig({ name, systemDatabaseUrl: url, applicationVersion: `${name}-1`, executorID: 'local', runAdminServer: false,
	runMigrations: false, logLevel: 'warn' });
await DBOS.launch();
const server = await serve(Number(PORT), {
	'GET /health': health,
	'POST /workflows/*': begin,
	'GET /workflows/*': show,
	'GET /workflows': list,
	'GET /workflows/finished': finished,
	'POST /wait/*': async ({ rest }) => [200, { id: rest, output: await DBOS.retrieveWorkflow(rest).getResult() }],
	'GET /steps': steps,
});
// a workflow that is held never ends: what is open is left as after a crash
onEnd(server, () => Promise.race([DBOS.shutdown(), new Promise((resolve) => setTimeout(resolve, 500))]));
ready();
