// The ledger's worker: delivers what the API has put into the queue, each job one row of the table deliveries.
import { checkMigrations, openBoss, openPool, settings } from './ledger.mjs';
import { ready } from '../lib/service.mjs';

try {
	const own = settings(process.env);
	const pool = openPool(own, own.env.DATABASE_URL);
	await checkMigrations(own, pool);
	const boss = openBoss(own, own.env.DATABASE_URL, false);
	await boss.start();
	await boss.work('deliver', { pollingIntervalSeconds: 0.5, batchSize: 10 }, async (jobs) => {
		for (const job of jobs) {
			await pool.query('INSERT INTO deliveries (job_id, chain_position, worker_version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
				[job.id, job.data.position, own.version]);
		}
	});
	process.on('SIGTERM', () => boss.stop({ graceful: true, timeout: 20_000 }).then(() => process.exit(0)));
	ready();
} catch (e) {
	console.error(`agledger worker: ${e.message}`);
	process.exit(1);
}
