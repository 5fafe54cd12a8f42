// A small HTTP server for the services: routes are "METHOD /path" to an async function of ({url, body, headers}) that returns
// [status, object]; a path may end with "/*", the rest of which is then "rest".
import http from 'node:http';

async function bodyOf(request) {
	const parts = [];
	for await (const part of request) parts.push(part);
	const text = Buffer.concat(parts).toString();
	return text === '' ? {} : JSON.parse(text);
}

async function answer(routes, request) {
	const url = new URL(request.url, 'http://localhost');
	let route = routes[`${request.method} ${url.pathname}`], rest;
	if (!route) {
		const slash = url.pathname.lastIndexOf('/');
		route = routes[`${request.method} ${url.pathname.slice(0, slash)}/*`];
		rest = decodeURIComponent(url.pathname.slice(slash + 1));
	}
	if (!route) return [404, { error: `no ${request.method} ${url.pathname}` }];
	return route({ url, rest, headers: request.headers, body: await bodyOf(request) });
}

// Listens on 127.0.0.1; resolves to the server.
export function serve(port, routes) {
	const server = http.createServer((request, response) => {
		answer(routes, request).catch((e) => [503, { status: 'error', error: e.message }]).then(([status, object]) => {
			const text = typeof object === 'string' ? object : JSON.stringify(object) + '\n';
			response.writeHead(status, { 'content-type': typeof object === 'string' ? 'text/plain' : 'application/json', connection: 'close' });
			response.end(text);
		});
	});
	return new Promise((resolve, reject) => {
		server.once('error', reject);
		server.listen(port, '127.0.0.1', () => resolve(server));
	});
}

// TERM and INT end the service: no new requests, then what is given.
export function onEnd(server, end) {
	let ending = false;
	for (const signal of ['SIGTERM', 'SIGINT'])
		process.on(signal, () => {
			if (ending) return;
			ending = true;
			server.close();
			server.closeAllConnections();
			Promise.resolve(end()).then(() => process.exit(0), (e) => {
				console.error(e);
				process.exit(1);
			});
		});
}
