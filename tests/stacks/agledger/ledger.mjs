// What the programs of the ledger have in common: the version that is pinned, secrets, the database, and the hash chain.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';

const here = new URL('.', import.meta.url).pathname;
const known = JSON.parse(fs.readFileSync(`${here}versions.json`));

// What a version consists of; a version nobody has built has no image.
export function image(version) {
	if (!known[version]) throw new Error(`no such image: agledger:${version}`);
	return { version, ...known[version] };
}

// The names of the files a version brings with it, in their order.
export function migrationFiles({ migrations }) {
	return fs.readdirSync(`${here}migrations`).sort().slice(0, migrations);
}

export function migrationText(name) {
	return fs.readFileSync(`${here}migrations/${name}`, 'utf8');
}

// Everything the environment must say; throws the first thing that it does not, or must not.
export function settings(env) {
	const own = image(env.AGLEDGER_VERSION ?? '');
	for (const key of own.refused) {
		if (env[key] !== undefined) throw new Error(`${key} is no longer supported: remove it from the environment`);
	}
	for (const key of ['API_KEY_SECRET', 'VAULT_SIGNING_KEY', 'PLATFORM_API_KEY', 'DATABASE_URL']) {
		if (!env[key]) throw new Error(`${key} is not set`);
	}
	return { ...own, env, secrets: [env.API_KEY_SECRET, env.API_KEY_SECRET_PREVIOUS].filter(Boolean),
		signing: signingKey(env.VAULT_SIGNING_KEY, 'VAULT_SIGNING_KEY'),
		signingPrevious: env.VAULT_SIGNING_KEY_PREVIOUS ? signingKey(env.VAULT_SIGNING_KEY_PREVIOUS, 'VAULT_SIGNING_KEY_PREVIOUS') : null };
}

function modules({ pgboss }) {
	return createRequire(`${process.env.PACKAGES}/pgboss-${pgboss}/package.json`);
}

export function openPool(own, url) {
	const pg = createRequire(modules(own).resolve('pg-boss'))('pg');
	const pool = new pg.Pool({ connectionString: url, max: 4, application_name: `agledger ${own.version}` });
	pool.on('error', (e) => console.error(`database: ${e.message}`));
	return pool;
}

export function openBoss(own, url, migrate) {
	const PgBoss = modules(own)('pg-boss');
	const boss = new PgBoss({ connectionString: url, application_name: 'agledger queue', max: 3, supervise: false, schedule: false, migrate });
	boss.on('error', (e) => console.error(`queue: ${e.message}`));
	return boss;
}

// Throws unless everything that this version needs is applied.
export async function checkMigrations(own, pool) {
	const { rows } = await pool.query('SELECT name FROM _migrations');
	const missing = migrationFiles(own).filter((name) => !rows.some((row) => row.name === name));
	if (missing.length) throw new Error(`migrations are behind version ${own.version}: ${missing.join(', ')}`);
}

// --- API keys ---

const hex = (algorithm, text) => crypto.createHash(algorithm).update(text).digest('hex');

export const keyDigest = (key) => hex('sha256', key);
export const keyHash = (secret, digest) => crypto.createHmac('sha256', secret).update(digest).digest('hex');

// --- vault ---

// An Ed25519 key, in base64: its PKCS#8 form, or the 32 bytes alone.
export function signingKey(text, name) {
	const given = Buffer.from(text, 'base64'), head = Buffer.from('302e020100300506032b657004220420', 'hex');
	const der = given.length === 32 ? Buffer.concat([head, given]) : given;
	if (der.length !== 48 || der.indexOf(head) !== 0) throw new Error(`${name} is not an Ed25519 key in base64`);
	const key = crypto.createPrivateKey({ format: 'der', type: 'pkcs8', key: der });
	const publicKey = crypto.createPublicKey(key).export({ format: 'pem', type: 'spki' });
	return { key, publicKey, id: hex('sha256', publicKey).slice(0, 16) };
}

export async function registerKey(pool, { id, publicKey }) {
	await pool.query('INSERT INTO vault_signing_keys (key_id, public_key) VALUES ($1, $2) ON CONFLICT DO NOTHING', [id, publicKey]);
}

// One more entry at the end of the chain; client is in a transaction.
export async function append(client, signing, data) {
	await client.query("SELECT pg_advisory_xact_lock(hashtext('audit_vault'))");
	const { rows: [last] } = await client.query('SELECT chain_position, payload_hash FROM audit_vault ORDER BY chain_position DESC LIMIT 1');
	const position = last ? Number(last.chain_position) + 1 : 1;
	const previous = last?.payload_hash ?? null;
	const envelope = JSON.stringify({ position, previous, data });
	const signature = crypto.sign(null, Buffer.from(envelope), signing.key).toString('base64');
	await client.query(`INSERT INTO audit_vault (chain_position, envelope, payload_hash, previous_hash, key_id, signature)
		VALUES ($1, $2, $3, $4, $5, $6)`, [position, envelope, hex('sha256', envelope + signature), previous, signing.id, signature]);
	return position;
}

// Reads the whole chain: {entries, brokenChains, broken: [{position, reason}]}.
export async function scan(pool) {
	const { rows } = await pool.query(`SELECT v.*, k.public_key FROM audit_vault v LEFT JOIN vault_signing_keys k USING (key_id)
		ORDER BY chain_position`);
	const broken = [];
	let before = null, expected = 1;
	for (const row of rows) {
		const position = Number(row.chain_position);
		const reasons = [
			[position !== expected, 'position'],
			[row.previous_hash !== before, 'previous hash'],
			[JSON.parse(row.envelope).previous !== row.previous_hash, 'envelope'],
			[hex('sha256', row.envelope + row.signature) !== row.payload_hash, 'payload hash'],
			[!row.public_key || !crypto.verify(null, Buffer.from(row.envelope), row.public_key, Buffer.from(row.signature, 'base64')), 'signature'],
		];
		const wrong = reasons.find(([is]) => is);
		if (wrong) broken.push({ position, reason: wrong[1] });
		before = row.payload_hash;
		expected = position + 1;
	}
	return { entries: rows.length, brokenChains: broken.length, broken };
}
