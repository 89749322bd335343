// use.mjs FOLDER ADDRESS: uses the client of FOLDER over every model, as an application would. Prints a line of
// JSON for each table: its rows, or what failed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';

const [folder, address] = process.argv.slice(2);
const { PrismaClient } = createRequire(import.meta.url)(join(folder, 'client'));
const client = new PrismaClient({ adapter: new PrismaPg({ connectionString: address }) });

// The client keeps too little of the schema to make records by.
const blocks = [...readFileSync(join(folder, 'postgres.prisma'), 'utf8').matchAll(/^(model|enum) (\w+) \{\n(.*?)^\}/gms)];
const enums = Object.fromEntries(blocks.filter(block => block[1] === 'enum').map(([, , name, body]) => [name, body.trim().split(/\s+/)]));
const models = blocks.filter(block => block[1] === 'model').map(([, , name, body]) => ({
  name,
  table: body.match(/@@map\("(\w+)"\)/)?.[1] ?? name,
  fields: [...body.matchAll(/^ +(\w+) +(\w+)(\[\]|\?|) *(.*)$/gm)].map(([, field, type, suffix, attributes]) => ({
    name: field,
    type,
    isRelation: blocks.some(block => block[1] === 'model' && block[2] === type),
    isList: suffix === '[]',
    isId: attributes.includes('@id'),
    isMade: attributes.includes('@default(uuid())'),
    relation: attributes.match(/@relation\("(\w+)"/)?.[1] ?? [name, type].sort().join('To'),
    holds: attributes.match(/fields: \[(\w+)\]/)?.[1],
  })),
}));

const delegate = model => client[model.name[0].toLowerCase() + model.name.slice(1)];
const relations = model => model.fields.filter(field => field.isRelation);
const key = model => model.fields.find(field => field.isId).name;
const named = name => models.find(model => model.name === name);

let counter = 1_000_000;
function value(field) {
  counter += 1;
  if (enums[field.type]) return enums[field.type][0];
  switch (field.type) {
    case 'String': return `text ${counter}`;
    case 'Boolean': return true;
    case 'Int': return counter;
    case 'BigInt': return BigInt(counter) * 10_000_000_000n;
    case 'Float': return counter + 0.25;
    case 'DateTime': return new Date(1_700_000_000_000 + counter);
    case 'Json': return { a: [1, null, 'x'], counter };
    default: throw new Error(`no value of type ${field.type}`);
  }
}

// Takes away what was made for other records.
const lent = [];

// The data of a new record: all of its own fields, and connections to records that are there.
async function data(model) {
  const made = {};
  const held = new Set(relations(model).map(field => field.holds));
  for (const field of model.fields) {
    if (field.isRelation) {
      const other = named(field.type).fields.find(other =>
        other.relation === field.relation && other.type === model.name && other.name !== field.name);
      // What holds this record's key is not of this record.
      if (!field.holds && !(field.isList && other.isList)) continue;
      // A record of a one-to-one relation needs one that has none yet.
      const single = field.holds && !other.isList;
      const target = single
        ? await delegate(named(field.type)).create({ data: await data(named(field.type)) })
        : await delegate(named(field.type)).findFirst();
      if (single) lent.push(() => delegate(named(field.type)).delete({ where: { id: target.id } }));
      if (target) made[field.name] = { connect: { id: target.id } };
    } else if (!held.has(field.name) && !field.isMade) {
      made[field.name] = field.isList ? [value(field), value(field)] : value(field);
    }
  }
  return made;
}

async function use(model) {
  const table = delegate(model);
  const rows = await table.count();
  const include = Object.fromEntries(relations(model).map(field => [field.name, true]));
  const all = await table.findMany(relations(model).length ? { include } : {});
  if (all.length !== rows) throw new Error(`read ${all.length} of ${rows}`);
  for (const field of model.fields) {
    const found = all.map(row => row[field.name]).find(held => held != null && (!field.isList || held.length));
    if (found === undefined || field.isRelation || field.type === 'Json') continue;
    const where = { [field.name]: field.isList ? { has: found[0] } : found };
    if (await table.count({ where }) === 0) throw new Error(`${field.name} is not found by its own value`);
  }
  const made = await table.create({ data: await data(model) });
  const where = { [key(model)]: made[key(model)] };
  const held = relations(model).map(field => field.holds);
  const field = model.fields.find(one => !one.isRelation && !one.isId && !one.isList && !held.includes(one.name));
  const changed = value(field);
  await table.update({ where, data: { [field.name]: changed } });
  const again = await table.findUnique({ where });
  const text = held => JSON.stringify(held, (_, one) => typeof one === 'bigint' ? `${one}` : one);
  if (text(again[field.name]) !== text(changed)) throw new Error(`${field.name} was not changed`);
  await table.delete({ where });
  while (lent.length) await lent.pop()();
  if (await table.count() !== rows) throw new Error('the record was not deleted');
  return rows;
}

// Deletions reach what hangs on a record as the schema says.
async function deletions() {
  const account = await client.account.create({ data: await data(named('Account')) });
  const opportunity = await client.opportunity.create({
    data: { v: 0, account: { connect: { id: account.id } } },
  });
  const contact = await client.contact.create({
    data: { v: 0, lastName: 'x', account: { connect: { id: account.id } } },
  });
  await client.account.delete({ where: { id: account.id } });
  if (await client.opportunity.findUnique({ where: { id: opportunity.id } })) throw new Error('no cascade');
  const left = await client.contact.findUnique({ where: { id: contact.id } });
  if (left?.accountId !== null) throw new Error('the reference was not set to null');
  await client.contact.delete({ where: { id: contact.id } });
  const event = await client.event.findFirst();
  const refused = await client.person.delete({ where: { id: event.personId } }).then(() => false, () => true);
  if (!refused) throw new Error('a person with events was deleted');
  return 0;
}

let failed = false;
async function line(table, work) {
  try {
    console.log(JSON.stringify({ client: 'prisma', table, rows: await work() }));
  } catch (error) {
    failed = true;
    console.log(JSON.stringify({ client: 'prisma', table, error: `${error.code ?? ''} ${error.message}`.trim() }));
  }
}
for (const model of models) await line(model.table, () => use(model));
await line('deletions', deletions);
await client.$disconnect();
process.exit(failed ? 1 : 0);
