#!/usr/bin/env bash
# admin-url.sh DIR: puts ADMIN_DATABASE_URL into DIR/.env, made of AUTHENTICATOR_ADMIN_PASSWORD there, as a person would by hand.
# admin-url.sh DIR remove: takes it away again.  Either may be given again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
node --input-type=module - "$here" "$1" "${2:-put}" <<'JS'
import fs from 'node:fs';
const [here, dir, what] = process.argv.slice(2);
const { readEnv } = await import(`${here}/../lib/env.mjs`);
const file = `${dir}/.env`, settings = readEnv(file);
const encode = (text) => encodeURIComponent(text).replaceAll("'", '%27');
const url = `postgresql://authenticator_admin:${encode(settings.AUTHENTICATOR_ADMIN_PASSWORD)}@localhost/${settings.DB_NAME}?host=${encode(settings.DB_HOST)}`;
const lines = fs.readFileSync(file, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('ADMIN_DATABASE_URL='));
if (what === 'put') lines.push(`ADMIN_DATABASE_URL='${url}'`);
fs.writeFileSync(`${file}.new`, `${lines.join('\n')}\n`, { mode: fs.statSync(file).mode & 0o777 });
fs.renameSync(`${file}.new`, file);
JS
