// make.mjs FOLDER ADDRESS: the schema for PostgreSQL, the SQL that Prisma Migrate makes of it, and its client.
//
// The schema becomes that of PostgreSQL as its users would change it: by the provider, by the types of ids, and
// by arrays of ids, which are implicit many-to-many relations there.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';

const [folder, address] = process.argv.slice(2);
const require = createRequire(import.meta.url);

const schema = readFileSync(new URL('schema.prisma', import.meta.url), 'utf8')
  .split('\n')
  .filter(line => !/^\s+\w+Ids\s+String\[\]/.test(line))
  .map(line =>
    line
      .replace('"mongodb"', '"postgresql"')
      .replace('"./client"', JSON.stringify(join(folder, 'client')))
      .replace('@default(auto()) @map("_id") @db.ObjectId', '@default(uuid()) @db.Uuid')
      .replace('@id @map("_id")', '@id')
      .replace('@db.ObjectId', '@db.Uuid')
      .replace(/@relation\("(\w+)", fields: \[\w+Ids\], references: \[id\]\)/, '@relation("$1")')
      .replace(/@relation\(fields: \[\w+Ids\], references: \[id\]\)/, ''))
  .join('\n');
const path = join(folder, 'postgres.prisma');
writeFileSync(path, schema);

// The command line's engine is a download of its own; the same engine in WebAssembly is a package.
const engine = require.resolve('@prisma/schema-engine-wasm').replace(/\.js$/, '_bg');
const bindings = await import(pathToFileURL(`${engine}.js`).href);
const compiled = new WebAssembly.Module(readFileSync(`${engine}.wasm`));
const instance = new WebAssembly.Instance(compiled, { './schema_engine_bg.js': bindings });
bindings.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();
const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: address }));
const migrate = await bindings.SchemaEngine.new({ datamodel: schema, flavour: 'postgres' }, () => {}, adapter);
const made = await migrate.diff({
  from: { tag: 'empty' },
  to: { tag: 'schemaDatamodel', files: [{ path: 'schema.prisma', content: schema }] },
  script: true,
  exitCode: null,
  shadowDatabaseUrl: null,
  filters: { externalTables: [], externalEnums: [] },
});
writeFileSync(join(folder, 'migration.sql'), made.stdout);

const prisma = join(require.resolve('prisma/package.json'), '../build/index.js');
const environment = { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' };
execFileSync(process.execPath, [prisma, 'generate', '--schema', path], { env: environment, stdio: 'pipe' });
process.exit(0);
