// A service with a queue, on pg-boss of the version that PGBOSS_VERSION pins (installed in PACKAGES/pgboss-VERSION).  It never migrates:
// with the schema of another version it does not start.
//
//	DATABASE_URL, PORT
//
//	GET  /health            {status, version, schema}; 503 when the database does not answer
//	POST /jobs/QUEUE        {count}: creates the queue when it is not there, and so many jobs
//	POST /work/QUEUE        {count}: fetches and completes up to so many; answers {done}
//	GET  /jobs              one "QUEUE STATE COUNT" line for each
//	GET  /ids               one "QUEUE ID STATE" line for each job
import { openBoss, version } from './boss.mjs';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';

const { boss, sql } = openBoss({ migrate: false });
await boss.start();

async function enqueue({ rest: queue, body }) {
	if (!(await boss.getQueue(queue))) await boss.createQueue(queue);
	const ids = [];
	for (let i = 0; i < (body.count ?? 1); i++) ids.push(await boss.send(queue, { number: i }));
	return [200, { queue, jobs: ids.length }];
}

async function work({ rest: queue, body }) {
	const jobs = await boss.fetch(queue, { batchSize: body.count ?? 1 });
	for (const job of jobs ?? []) await boss.complete(queue, job.id);
	return [200, { queue, done: jobs?.length ?? 0 }];
}

const server = await serve(Number(process.env.PORT), {
	'GET /health': async () => [200, { status: 'ok', version, schema: (await sql('SELECT version FROM pgboss.version')).rows[0].version }],
	'POST /jobs/*': enqueue,
	'POST /work/*': work,
	'GET /jobs': async () => [200, (await sql('SELECT name, state, count(*) FROM pgboss.job GROUP BY 1, 2 ORDER BY 1, 2')).rows
		.map((r) => `${r.name} ${r.state} ${r.count}\n`).join('')],
	'GET /ids': async () => [200, (await sql('SELECT name, id, state FROM pgboss.job ORDER BY 1, 2')).rows
		.map((r) => `${r.name} ${r.id} ${r.state}\n`).join('')],
});
onEnd(server, () => boss.stop({ graceful: false }));
ready();
