// The proxy of the stack.
//
//	PGSTACK_VERSION             2026.5 logs in as pgstack_proxy (PROXY_PASSWORD), 2026.6 and 2026.7 as authenticator
//	                            (AUTHENTICATOR_PASSWORD)
//	ADMIN_DATABASE_URL          since 2026.6: the connections for administration; without it they are the proxy's own
//	DB_HOST, DB_PORT, DB_NAME, PORT
//
//	GET  /health                {status: "ok", pg_connected: true}, or 503 {status: "degraded", pg_connected: false}
//	GET  /info                  {version, session_user, admin_session_user}; null where it cannot log in
//	GET  /admin/whoami          {session_user, current_user} of a connection that administers, or 503: it acts as service_role
//	POST /admin/subscriptions   {name, query}: a live query; GET /subscriptions: {persisted, live}
import { createRequire } from 'node:module';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';

const { PGSTACK_VERSION: version, PACKAGES, DB_HOST, DB_PORT, DB_NAME, PORT, ADMIN_DATABASE_URL } = process.env;
const logins = { '2026.5': ['pgstack_proxy', process.env.PROXY_PASSWORD], '2026.6': ['authenticator', process.env.AUTHENTICATOR_PASSWORD] };
logins['2026.7'] = logins['2026.6'];
if (!logins[version]) {
	console.error(`pgstack: no such image: pgstack-proxy:${version}`);
	process.exit(1);
}
const packages = createRequire(`${PACKAGES}/pgboss-10.1.3/package.json`);
const pg = createRequire(packages.resolve('pg-boss'))('pg');

function openPool(options) {
	const pool = new pg.Pool({ max: 3, application_name: `pgstack ${version}`, ...options });
	pool.on('error', (e) => console.error(`database: ${e.message}`));
	return pool;
}

const [user, password] = logins[version];
const own = { host: DB_HOST, port: Number(DB_PORT), database: DB_NAME, user, password };
const pool = openPool(own);
const admin = openPool(version !== '2026.5' && ADMIN_DATABASE_URL ? { connectionString: ADMIN_DATABASE_URL } : own);

async function connected() {
	try {
		await pool.query('SELECT 1');
		return true;
	} catch (e) {
		console.error(`health: ${e.message}`);
		return false;
	}
}

// As service_role, in a transaction.
async function administer(sql, values) {
	const client = await admin.connect();
	try {
		await client.query('BEGIN');
		await client.query('SET LOCAL ROLE service_role');
		const result = await client.query(sql, values);
		await client.query('COMMIT');
		return result;
	} catch (e) {
		await client.query('ROLLBACK').catch(() => {});
		throw e;
	} finally {
		client.release();
	}
}

const sessionUser = async (of) => (await of.query('SELECT session_user AS who').catch(() => ({ rows: [{ who: null }] }))).rows[0].who;

const server = await serve(Number(PORT), {
	'GET /health': async () => await connected() ? [200, { status: 'ok', pg_connected: true }] : [503, { status: 'degraded', pg_connected: false }],
	'GET /info': async () => [200, { version, session_user: await sessionUser(pool), admin_session_user: await sessionUser(admin) }],
	'GET /admin/whoami': async () => [200, (await administer('SELECT session_user, current_user')).rows[0]],
	'POST /admin/subscriptions': async ({ body }) => {
		await administer('SELECT pgr.subscribe($1, $2)', [body.name, body.query]);
		return [201, { name: body.name }];
	},
	'GET /subscriptions': async () => [200, (await administer(`SELECT (SELECT count(*)::int FROM pgr.persisted_subscriptions) AS persisted,
		(SELECT count(*)::int FROM pgr.live_subscriptions) AS live`)).rows[0]],
});
onEnd(server, async () => {
	await pool.end();
	await admin.end();
});
ready();
