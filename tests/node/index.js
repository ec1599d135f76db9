'use strict';

// Drives a broker with the Node client ali-ons.
//
//   node index.js <name server address> [scenario ...]
//
// Each scenario prints "PASS name millis" or "FAIL name millis reason"; the exit status is 1 if any failed.

const { Consumer, Producer, Message } = require('ali-ons');
const createTopic = require('./create_topic');

const LIMIT_MILLIS = 60000;
const nameSrv = process.argv[2];
if (!nameSrv) {
  console.error('usage: node index.js <name server address>');
  process.exit(2);
}
const quiet = { debug() {}, info() {}, warn() {}, error(...text) { console.error(...text); } };
// The client fetches addresses with it unless it is given a name server, as here.
const httpclient = { request() { throw new Error('no address server is configured'); } };
const common = { nameSrv, httpclient, logger: quiet, clientIP: '127.0.0.1', accessKeyId: '', accessKeySecret: '' };

async function producer(name) {
  await createTopic(nameSrv, name);
  const made = new Producer(Object.assign({ producerGroup: 'p_' + name }, common));
  made.on('error', err => console.error(err));
  await made.ready();
  return made;
}

// Resolves when every wanted body came; rejects messages that were never sent.
async function consume(name, topic, tags, wanted) {
  const consumer = new Consumer(Object.assign({
    consumerGroup: 'g_' + name,
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
  }, common));
  const missing = new Set(wanted);
  const got = [];
  await new Promise((resolve, reject) => {
    consumer.on('error', err => console.error(err));
    consumer.subscribe(topic, tags, async msg => {
      const body = msg.body.toString();
      got.push(msg);
      if (!wanted.includes(body)) reject(new Error(`unexpected message ${body}`));
      missing.delete(body);
      if (missing.size === 0) resolve();
    });
    consumer.ready(err => err && reject(err));
  });
  await consumer.close();
  return got;
}

async function produce(name) {
  const sender = await producer(name);
  const bodies = [];
  for (let i = 0; i < 20; i++) {
    const result = await sender.send(new Message(name, 'T', `body ${i}`));
    if (result.sendStatus !== 'SEND_OK') throw new Error(`send status ${result.sendStatus}`);
    bodies.push(`body ${i}`);
  }
  await consume(name, name, '*', bodies);
}

async function tags(name) {
  const sender = await producer(name);
  const wanted = [];
  for (let i = 0; i < 30; i++) {
    const tag = [ 'A', 'B', 'C' ][i % 3];
    await sender.send(new Message(name, tag, tag + i));
    if (tag !== 'B') wanted.push(tag + i);
  }
  await consume(name, name, 'A || C', wanted);
}

async function unicode(name) {
  const sender = await producer(name);
  const message = new Message(name, '标签', '正文 é 😀');
  message.keys = [ '钥匙😀' ];
  await sender.send(message);
  const [ got ] = await consume(name, name, '标签', [ '正文 é 😀' ]);
  if (got.tags !== '标签' || got.keys !== '钥匙😀') throw new Error(`tags ${got.tags}, keys ${got.keys}`);
}

function limited(work) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`did not end within ${LIMIT_MILLIS} ms`)), LIMIT_MILLIS);
  });
  return Promise.race([ work, late ]).finally(() => clearTimeout(timer));
}

async function main() {
  let failed = false;
  const wanted = process.argv.slice(3);
  const all = [ [ 'node_produce', produce ], [ 'node_tags', tags ], [ 'node_unicode', unicode ] ];
  for (const [ name, run ] of all) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const start = Date.now();
    try {
      await limited(run(`${name}_${Date.now()}`));
      console.log(`PASS ${name} ${Date.now() - start}`);
    } catch (err) {
      failed = true;
      console.log(`FAIL ${name} ${Date.now() - start} ${String(err.message).replace(/\n/g, ' ')}`);
    }
  }
  process.exit(failed ? 1 : 0);
}

main();
