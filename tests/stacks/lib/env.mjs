// Reads an .env file as docker compose does: KEY=VALUE lines, "#" comments; unquoted and "double quoted" values have $NAME and ${NAME}
// replaced, by keys above and then by the environment; 'single quoted' ones are taken as they stand.
import fs from 'node:fs';

const line_form = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(?:(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")[ \t]*(?:#.*)?|((?:[^'"].*)?))$/s;

function replaced(text, known) {
	return text.replace(/\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)|\$)/g, (all, braced, bare) => {
		const name = braced ?? bare;
		return name === undefined ? '$' : (known[name] ?? process.env[name] ?? '');
	});
}

function unescaped(text) {
	return text.replace(/\\(.)/g, (all, c) => ({ n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$$' })[c] ?? all);
}

export function parseEnv(text, path = '.env') {
	const known = {};
	text.split('\n').forEach((line, i) => {
		if (/^\s*(#|$)/.test(line)) return;
		const found = line_form.exec(line);
		if (!found) throw new Error(`${path}: line ${i + 1} is not KEY=VALUE`);
		const [, key, single, double, bare] = found;
		if (single !== undefined) known[key] = single.replace(/\\'/g, "'");
		else if (double !== undefined) known[key] = replaced(unescaped(double), known);
		else known[key] = replaced(bare.replace(/(^|\s)#.*$/, '').trim(), known);
	});
	return known;
}

export function readEnv(path) {
	return parseEnv(fs.readFileSync(path, 'utf8'), path);
}

// env.mjs FILE KEY prints one value
if (process.argv[1] === new URL(import.meta.url).pathname) {
	const value = readEnv(process.argv[2])[process.argv[3]];
	if (value === undefined) process.exit(1);
	console.log(value);
}
