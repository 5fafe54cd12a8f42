// The server of durable streams, of the version that STREAMS_VERSION pins (installed in PACKAGES/streams-VERSION).
//
//	DATA_DIR        its files, from the installation's directory on
//	PORT            PUT, POST, GET, HEAD, DELETE /v1/stream/NAME, by the server itself
//	HEALTH_PORT     GET /health {status, version}: whether the server answers, which is all that such an endpoint usually knows
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { onEnd, serve } from '../lib/http.mjs';
import { ready } from '../lib/service.mjs';

const { STREAMS_VERSION, PACKAGES, DATA_DIR, PORT, HEALTH_PORT } = process.env;
const directory = `${PACKAGES}/streams-${STREAMS_VERSION}`;
const { version } = JSON.parse(fs.readFileSync(`${directory}/node_modules/@durable-streams/server/package.json`));
const entry = createRequire(`${directory}/package.json`).resolve('@durable-streams/server').replace(/\.cjs$/, '.js');
const { DurableStreamTestServer } = await import(pathToFileURL(entry));

fs.mkdirSync(DATA_DIR, { recursive: true });
const streams = new DurableStreamTestServer({ port: Number(PORT), host: '127.0.0.1', dataDir: DATA_DIR });
await streams.start();
const health = await serve(Number(HEALTH_PORT), {
	'GET /health': async () => {
		const answer = await fetch(`http://127.0.0.1:${PORT}/v1/stream/`, { method: 'HEAD' });
		return [answer.status < 500 ? 200 : 503, { status: answer.status < 500 ? 'ok' : 'error', version }];
	},
});
onEnd(health, () => streams.stop());
ready();
