// preflight.mjs DIR: checks the installation as DIR/.env has it; one line for each check, exit status 1 when one has failed.
import path from 'node:path';
import { readEnv } from '../lib/env.mjs';
import { checkMigrations, image, openPool, settings } from './ledger.mjs';

const env = readEnv(path.join(process.argv[2], '.env'));
process.env.PACKAGES = env.PACKAGES;
let failed = 0, pool;

async function check(name, run) {
	try {
		await run();
		console.log(`ok    ${name}`);
	} catch (e) {
		failed++;
		console.log(`FAIL  ${name}: ${e.message}`);
	}
}

const one = async (sql) => Object.values((await pool.query(sql)).rows[0])[0];
await check('image', () => image(env.AGLEDGER_VERSION));
await check('settings', () => settings(env));
await check('secrets', () => {
	if (env.API_KEY_SECRET.length < 32) throw new Error('API_KEY_SECRET is shorter than 32 characters');
});
await check('database', async () => {
	pool = openPool(image(env.AGLEDGER_VERSION), env.DATABASE_URL);
	if (await one("SELECT current_setting('server_version_num')::int") < 150000) throw new Error('PostgreSQL is older than 15');
});
await check('migrations', () => checkMigrations(image(env.AGLEDGER_VERSION), pool));
await check('signing key', async () => {
	const { signing } = settings(env);
	if (!(await one(`SELECT count(*)::int FROM vault_signing_keys`))) return; // never started
	if (!(await one(`SELECT count(*)::int FROM vault_signing_keys WHERE key_id = '${signing.id}'`)))
		throw new Error('VAULT_SIGNING_KEY is not in the registry of the database');
});
await check('connections', async () => {
	const wanted = image(env.AGLEDGER_VERSION).connections ?? 20;
	if (await one("SELECT current_setting('max_connections')::int") < wanted) throw new Error(`max_connections is below ${wanted}`);
});
await pool?.end();
process.exit(failed ? 1 : 0);
