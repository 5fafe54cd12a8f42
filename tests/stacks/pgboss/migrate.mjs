// The migration of pg-boss: it is done by starting the new version once.  PGBOSS_VERSION, PACKAGES and DATABASE_URL are in the environment.
import { openBoss, version } from './boss.mjs';

const { boss, sql } = openBoss({ migrate: true });
try {
	await boss.start();
	console.log(`pg-boss ${version}: schema ${(await sql('SELECT version FROM pgboss.version')).rows[0].version}`);
	await boss.stop({ graceful: false });
} catch (e) {
	console.error(`pg-boss ${version}: ${e.code ?? e.name}: ${e.message}`);
	process.exit(1);
}
