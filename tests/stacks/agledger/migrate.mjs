// migrate.mjs DIR [VERSION]: what `compose run migrate` does with the image of that version (or of the one that DIR/.env pins): the
// version's files that _migrations does not name, each in a transaction with its row, then the queue's own migration.  Runs as the owner
// (DATABASE_URL_MIGRATE, else DATABASE_URL) and lets the application's role, that of DATABASE_URL, use what it has made.
import crypto from 'node:crypto';
import path from 'node:path';
import { readEnv } from '../lib/env.mjs';
import { image, migrationFiles, migrationText, openBoss, openPool } from './ledger.mjs';

const [dir, version] = process.argv.slice(2);
const env = readEnv(path.join(dir, '.env'));
process.env.PACKAGES = env.PACKAGES;

async function apply(pool, name) {
	const text = migrationText(name);
	const client = await pool.connect();
	try {
		await client.query('BEGIN');
		await client.query(text);
		await client.query('INSERT INTO _migrations (name, checksum) VALUES ($1, $2)', [name, crypto.createHash('sha256').update(text).digest('hex')]);
		await client.query('COMMIT');
		console.log(`applied ${name}`);
	} catch (e) {
		await client.query('ROLLBACK').catch(() => {});
		e.message = `${name}: ${e.message}`;
		throw e;
	} finally {
		client.release();
	}
}

async function grant(pool, role) {
	const quoted = `"${role.replaceAll('"', '""')}"`;
	for (const schema of ['public', 'pgboss']) {
		await pool.query(`GRANT USAGE ON SCHEMA ${schema} TO ${quoted}`);
		await pool.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${quoted}`);
		await pool.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${schema} TO ${quoted}`);
	}
}

try {
	const own = image(version ?? env.AGLEDGER_VERSION);
	const url = env.DATABASE_URL_MIGRATE || env.DATABASE_URL;
	const pool = openPool(own, url);
	await pool.query(`CREATE TABLE IF NOT EXISTS _migrations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
		checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
	const { rows } = await pool.query('SELECT name FROM _migrations');
	for (const name of migrationFiles(own).filter((file) => !rows.some((row) => row.name === file))) await apply(pool, name);
	const boss = openBoss(own, url, true);
	await boss.start();
	if (!(await boss.getQueue('deliver'))) await boss.createQueue('deliver');
	await boss.stop({ graceful: false });
	await grant(pool, decodeURIComponent(new URL(env.DATABASE_URL).username));
	await pool.end();
	console.log(`migrated to ${own.version}`);
} catch (e) {
	console.error(`migrate: ${e.code ? `${e.code}: ` : ''}${e.message}`);
	process.exit(1);
}
