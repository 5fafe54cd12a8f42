// Opens pg-boss of the version that PGBOSS_VERSION pins.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const { PGBOSS_VERSION, PACKAGES, DATABASE_URL } = process.env;
const directory = `${PACKAGES}/pgboss-${PGBOSS_VERSION}`;
const require = createRequire(`${directory}/package.json`);
const PgBoss = require('pg-boss');

export const version = JSON.parse(fs.readFileSync(`${directory}/node_modules/pg-boss/package.json`)).version;

// Returns the boss and a function for queries over its connections.
export function openBoss(options) {
	const boss = new PgBoss({ connectionString: DATABASE_URL, application_name: 'pgboss', max: 4, supervise: false, schedule: false,
		...options });
	boss.on('error', (e) => console.error(`pg-boss: ${e.message}`));
	return { boss, sql: (text, values) => boss.getDb().executeSql(text, values ?? []) };
}
