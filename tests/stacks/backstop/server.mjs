// Stands for Backstop where a recovery asks it: paused or not.
//
//	PORT, BACKSTOP_TOKEN         the token that /admin wants
//
//	POST /admin/pause, /admin/resume    {paused}; 503 without the token.  The state is in run/paused and outlives the process
//	GET  /metadata/health               {status: "ok", paused}
import fs from 'node:fs';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';

const { PORT, BACKSTOP_TOKEN } = process.env, mark = 'run/paused';

function allowed({ headers }) {
	if (headers.authorization !== `Bearer ${BACKSTOP_TOKEN}`) throw new Error('not allowed');
}

const server = await serve(Number(PORT), {
	'POST /admin/pause': async (request) => {
		allowed(request);
		fs.writeFileSync(mark, '');
		return [200, { paused: true }];
	},
	'POST /admin/resume': async (request) => {
		allowed(request);
		fs.rmSync(mark, { force: true });
		return [200, { paused: false }];
	},
	'GET /metadata/health': async () => [200, { status: 'ok', paused: fs.existsSync(mark) }],
});
onEnd(server, async () => {});
ready();
