// Services in place of docker compose's: processes that are known by their name and need no terminal.
//
//	service.mjs start DIR NAME [--no-wait] -- PROGRAM ARG…
//		reads DIR/.env anew and starts it; waits until it says that it is ready.  Does nothing when it runs with the same program
//		and settings; when these have changed, it is stopped first ("up -d").
//	service.mjs restart DIR NAME [--no-wait]
//		stops it and starts it as it was, with the settings it had: .env is not read ("restart")
//	service.mjs stop DIR NAME       TERM, and KILL after 35 s (STACK_END_WITHIN_MS); a stopped one is fine
//	service.mjs status DIR NAME     prints "running PID" or "stopped" (exit status 3)
//
// A service finds its settings in its environment, logs to DIR/run/NAME.log, and says that it is ready by ready() (service.mjs exports
// it), which creates DIR/run/NAME.ready.  What runs is told by the environment of the processes themselves, so that no crash of
// whoever starts or stops makes one forgotten or started twice.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { readEnv } from './env.mjs';

const READY_WITHIN_MS = 30_000, END_WITHIN_MS = Number(process.env.STACK_END_WITHIN_MS ?? 35_000), LOOK_MS = 20;

export function ready() {
	const mark = process.env.STACK_READY;
	if (mark) fs.writeFileSync(mark, `${process.pid}\n`);
}

function state(dir, name) {
	const run = path.join(fs.realpathSync(dir), 'run');
	fs.mkdirSync(run, { recursive: true });
	return { mark: `STACK_SERVICE=${run}/${name}`, log: `${run}/${name}.log`, ready: `${run}/${name}.ready`,
		record: `${run}/${name}.json`, pid: `${run}/${name}.pid` };
}

function alive(pid) {
	try {
		const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
		return !'ZX'.includes(stat.slice(stat.lastIndexOf(')') + 2)[0]);
	} catch {
		return false;
	}
}

function running(service) {
	return fs.readdirSync('/proc').filter((pid) => {
		if (!/^\d+$/.test(pid)) return false;
		try {
			return fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(service.mark) && alive(pid);
		} catch {
			return false; // ended meanwhile, or another user's
		}
	}).map(Number);
}

async function until(what, withinMs) {
	for (const end = Date.now() + withinMs; !what();) {
		if (Date.now() > end) return false;
		await pause(LOOK_MS);
	}
	return true;
}

async function stop(service) {
	for (const pid of running(service)) {
		for (const [signal, withinMs] of [['SIGTERM', END_WITHIN_MS], ['SIGKILL', 5000]]) {
			try {
				process.kill(pid, signal);
			} catch (e) {
				if (e.code !== 'ESRCH') throw e;
			}
			if (await until(() => !alive(pid), withinMs)) break;
		}
	}
	fs.rmSync(service.ready, { force: true });
	fs.rmSync(service.pid, { force: true });
}

// What it has said since it was started, the end of it.
function tail(file, from) {
	try {
		return fs.readFileSync(file).subarray(from).toString().trimEnd().split('\n').slice(-20).join('\n');
	} catch {
		return '';
	}
}

async function start(service, name, config, wait) {
	const text = JSON.stringify(config);
	const said = fs.existsSync(service.log) ? fs.statSync(service.log).size : 0;
	let [pid] = running(service);
	if (pid !== undefined && (!fs.existsSync(service.record) || fs.readFileSync(service.record, 'utf8') !== text)) {
		await stop(service);
		pid = undefined;
	}
	if (pid === undefined) {
		fs.rmSync(service.ready, { force: true });
		fs.writeFileSync(`${service.record}.new`, text, { mode: 0o600 });
		fs.renameSync(`${service.record}.new`, service.record);
		const log = fs.openSync(service.log, 'a', 0o600);
		const [key, value] = [service.mark.slice(0, 13), service.mark.slice(14)];
		const child = spawn(config.argv[0], config.argv.slice(1), { cwd: config.cwd, detached: true, stdio: ['ignore', log, log],
			env: { PATH: process.env.PATH, HOME: process.env.HOME ?? '/', ...config.env, [key]: value, STACK_READY: service.ready } });
		child.on('error', (e) => fs.writeSync(log, `could not start: ${e.message}\n`));
		child.unref();
		pid = child.pid;
		fs.writeFileSync(service.pid, `${pid ?? ''}\n`);
	}
	if (!wait) return 0;
	const came = await until(() => fs.existsSync(service.ready) || !alive(pid), READY_WITHIN_MS);
	if (came && alive(pid)) return 0;
	console.error(`service "${name}" ${came ? 'ended before it was ready' : `was not ready within ${READY_WITHIN_MS / 1000} s`}:`);
	console.error(tail(service.log, said));
	return 1;
}

async function main([command, dir, name, ...rest]) {
	const service = state(dir, name);
	const split = rest.indexOf('--');
	const wait = !rest.slice(0, split < 0 ? undefined : split).includes('--no-wait');
	switch (command) {
	case 'start': {
		const config = { argv: rest.slice(split + 1), cwd: fs.realpathSync(dir), env: readEnv(path.join(dir, '.env')) };
		return start(service, name, config, wait);
	}
	case 'restart': {
		if (!fs.existsSync(service.record)) {
			console.error(`service "${name}" was never started`);
			return 1;
		}
		await stop(service);
		return start(service, name, JSON.parse(fs.readFileSync(service.record, 'utf8')), wait);
	}
	case 'stop':
		await stop(service);
		return 0;
	case 'status': {
		const pids = running(service);
		console.log(pids.length ? `running ${pids.join(' ')}` : 'stopped');
		return pids.length ? 0 : 3;
	}
	default:
		console.error('usage: service.mjs start|restart|stop|status DIR NAME [--no-wait] [-- PROGRAM ARG…]');
		return 2;
	}
}

if (process.argv[1] === new URL(import.meta.url).pathname) process.exitCode = await main(process.argv.slice(2));
