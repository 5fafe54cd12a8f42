// A client of the streams.
//
//	client.mjs DIR append NAME COUNT    creates the stream when it is not there, appends so many messages, and notes the name in
//	                                    DIR/names, as consumers have a list of what they follow
//	client.mjs DIR list                 one "NAME TAIL-OFFSET" line for each noted stream, "NAME missing" for one that is gone
//	client.mjs DIR read NAME            the messages, one a line
//
// Exit status 1 when the server does not answer, or not as it should.
import fs from 'node:fs';
import path from 'node:path';
import { readEnv } from '../lib/env.mjs';

const [dir, command, name, count] = process.argv.slice(2);
const names = path.join(dir, 'names');
const base = `http://127.0.0.1:${readEnv(path.join(dir, '.env')).PORT}/v1/stream`;

async function ask(method, stream, body) {
	const answer = await fetch(`${base}/${stream}`, { method, body, headers: { 'content-type': 'text/plain' } });
	if (!answer.ok && answer.status !== 404) throw new Error(`${method} ${stream}: status ${answer.status}`);
	return answer;
}

function known() {
	return fs.existsSync(names) ? fs.readFileSync(names, 'utf8').split('\n').filter(Boolean) : [];
}

const commands = {
	async append() {
		await ask('PUT', name);
		if (!known().includes(name)) fs.appendFileSync(names, `${name}\n`);
		for (let i = 1; i <= Number(count); i++) {
			const answer = await ask('POST', name, `message ${i} of ${name}\n`);
			if (answer.status === 404) throw new Error(`POST ${name}: no such stream`);
		}
	},
	async list() {
		for (const stream of known().sort()) {
			const answer = await ask('HEAD', stream);
			console.log(`${stream} ${answer.ok ? answer.headers.get('stream-next-offset') : 'missing'}`);
		}
	},
	async read() {
		const answer = await ask('GET', `${name}?offset=-1`);
		if (!answer.ok) throw new Error(`GET ${name}: no such stream`);
		process.stdout.write(await answer.text());
	},
};

try {
	await commands[command]();
} catch (e) {
	console.error(`client.mjs: ${e.message}${e.cause ? `: ${e.cause.message}` : ''}`);
	process.exitCode = 1;
}
