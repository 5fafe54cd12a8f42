// The ledger's API.  Settings come by the environment; a version whose migrations are not applied, or that finds a setting it has
// dropped, ends at once.
//
//	GET  /health                {status, version};  /health/ready: 503 while it starts or ends, or the database is away
//	GET  /conformance           {version, migration};  /status: {status, version, migration, entries, jobs}
//	GET  /v1/auth/me            by "authorization: Bearer KEY": {name, secret: "current" or "previous"}, or 401
//	POST /v1/records            likewise: one more entry of the vault and a job for the worker; {position}
//	by PLATFORM_API_KEY:
//	POST /v1/admin/api-keys     {name}: {name, key}
//	POST /v1/admin/vault/scan   202 {jobId}, then GET /v1/admin/vault/scan/JOBID: {status: "running"}, at last {status: "completed",
//	                            entries, brokenChains, broken}
//	POST /v1/admin/provisioning/reload    {loaded}: until it was called, records are refused (503)
//	GET  /v1/admin/system-health          {queue: {state: count}}
import crypto from 'node:crypto';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';
import { append, checkMigrations, keyDigest, keyHash, migrationFiles, openBoss, openPool, registerKey, scan, settings } from './ledger.mjs';

function giveUp(e) {
	console.error(`agledger: ${e.message}`);
	process.exit(1);
}

let own;
try {
	own = settings(process.env);
} catch (e) {
	giveUp(e);
}
const pool = openPool(own, own.env.DATABASE_URL);
const boss = openBoss(own, own.env.DATABASE_URL, false);
let isReady = false, provisioning = null;
const scans = new Map();

async function caller(headers) {
	const key = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1];
	if (!key) return null;
	for (const [i, secret] of own.secrets.entries()) {
		const { rows: [row] } = await pool.query('SELECT name FROM api_keys WHERE key_hash = $1', [keyHash(secret, keyDigest(key))]);
		if (row) return { name: row.name, secret: i === 0 && secret === own.env.API_KEY_SECRET ? 'current' : 'previous' };
	}
	return null;
}

const denied = [401, { error: 'this key is not known' }];
const asAdmin = (route) => async (request) =>
	request.headers.authorization === `Bearer ${own.env.PLATFORM_API_KEY}` ? route(request) : denied;
const asCaller = (route) => async (request) => {
	const who = await caller(request.headers);
	return who ? route(request, who) : denied;
};

async function record({ body }, who) {
	if (!provisioning) return [503, { error: 'provisioning is not loaded' }];
	const client = await pool.connect();
	try {
		await client.query('BEGIN');
		const position = await append(client, own.signing, { by: who.name, data: body.data ?? null });
		await client.query('COMMIT');
		await boss.send('deliver', { position });
		return [201, { position }];
	} catch (e) {
		await client.query('ROLLBACK');
		throw e;
	} finally {
		client.release();
	}
}

async function createKey({ body }) {
	const key = `agl_${crypto.randomBytes(16).toString('hex')}`, digest = keyDigest(key);
	await pool.query('INSERT INTO api_keys (name, key_digest, key_hash) VALUES ($1, $2, $3)', [body.name, digest, keyHash(own.secrets[0], digest)]);
	return [201, { name: body.name, key }];
}

// The result is given out from the second question on: who asks once has not waited for it.
async function beginScan() {
	const id = crypto.randomUUID();
	scans.set(id, { asked: 0, result: scan(pool) });
	return [202, { jobId: id }];
}

async function showScan({ rest: id }) {
	const job = scans.get(id);
	if (!job) return [404, { error: `no scan ${id}` }];
	if (job.asked++ === 0) return [200, { status: 'running' }];
	return [200, { status: 'completed', ...await job.result }];
}

async function queue() {
	const { rows } = await pool.query('SELECT state, count(*)::int AS n FROM pgboss.job GROUP BY 1 ORDER BY 1');
	return Object.fromEntries(rows.map((r) => [r.state, r.n]));
}

async function lastMigration() {
	return (await pool.query('SELECT name FROM _migrations ORDER BY id DESC LIMIT 1')).rows[0].name;
}

async function reload() {
	const { rows } = await pool.query('SELECT name FROM provisioning');
	provisioning = rows.map((r) => r.name);
	return [200, { loaded: provisioning.length }];
}

const server = await serve(Number(own.env.PORT), {
	'GET /health': async () => [200, { status: 'ok', version: own.version }],
	'GET /health/ready': async () => {
		if (isReady) await pool.query('SELECT 1');
		return isReady ? [200, { status: 'ready', version: own.version }] : [503, { status: 'not ready', version: own.version }];
	},
	'GET /conformance': async () => [200, { version: own.tells ?? own.version, migration: await lastMigration() }],
	'GET /status': async () => [200, { status: 'ok', version: own.version, migration: await lastMigration(),
		entries: (await pool.query('SELECT count(*)::int AS n FROM audit_vault')).rows[0].n, jobs: await queue() }],
	'GET /v1/auth/me': asCaller(async (request, who) => [200, who]),
	'POST /v1/records': asCaller(record),
	'POST /v1/admin/api-keys': asAdmin(createKey),
	'POST /v1/admin/vault/scan': asAdmin(beginScan),
	'GET /v1/admin/vault/scan/*': asAdmin(showScan),
	'POST /v1/admin/provisioning/reload': asAdmin(reload),
	'GET /v1/admin/system-health': asAdmin(async () => [200, { queue: await queue() }]),
}).catch(giveUp);

try {
	await checkMigrations(own, pool);
	await boss.start();
	await registerKey(pool, own.signing);
	if (own.signingPrevious) await registerKey(pool, own.signingPrevious);
	// the table came with a migration: before it there is nothing to provision
	if (!migrationFiles(own).includes('003_provisioning.sql')) provisioning = [];
} catch (e) {
	giveUp(e);
}
onEnd(server, async () => {
	isReady = false;
	await boss.stop({ graceful: false });
	await pool.end();
});
isReady = true;
ready();
