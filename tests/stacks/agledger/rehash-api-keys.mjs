// rehash-api-keys.mjs DIR: stores every API key under API_KEY_SECRET instead of API_KEY_SECRET_PREVIOUS.  There is no way back but a
// backup: from then on the previous secret opens nothing.  May be run again.
import path from 'node:path';
import { readEnv } from '../lib/env.mjs';
import { image, keyHash, openPool } from './ledger.mjs';

const env = readEnv(path.join(process.argv[2], '.env'));
process.env.PACKAGES = env.PACKAGES;
const { API_KEY_SECRET: secret, API_KEY_SECRET_PREVIOUS: previous } = env;
const pool = openPool(image(env.AGLEDGER_VERSION), env.DATABASE_URL);

async function rehash(client) {
	const { rows } = await client.query('SELECT id, key_digest, key_hash FROM api_keys ORDER BY id FOR UPDATE');
	const of = (key) => [secret, previous].findIndex((s) => keyHash(s, key.key_digest) === key.key_hash);
	const strange = rows.filter((key) => of(key) < 0).length;
	if (strange) throw new Error(`${strange} of ${rows.length} keys are stored under neither secret; nothing was changed`);
	const old = rows.filter((key) => of(key) === 1);
	for (const key of old) await client.query('UPDATE api_keys SET key_hash = $2 WHERE id = $1', [key.id, keyHash(secret, key.key_digest)]);
	return `re-hashed ${old.length} of ${rows.length} keys`;
}

try {
	if (!secret || !previous) throw new Error('API_KEY_SECRET and API_KEY_SECRET_PREVIOUS must both be set');
	const client = await pool.connect();
	await client.query('BEGIN');
	const done = await rehash(client);
	await client.query('COMMIT');
	console.log(done);
	client.release();
	await pool.end();
} catch (e) {
	console.error(`rehash-api-keys: ${e.message}`);
	process.exit(1);
}
