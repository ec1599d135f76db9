'use strict';

// Creates a topic with plain requests: ali-ons sends to topics that exist only.

const net = require('net');

const GET_ROUTE = 105;
const CREATE_TOPIC = 17;

function request(address, code, extFields) {
  const header = Buffer.from(JSON.stringify({ code, language: 'JAVA', version: 479, opaque: 1, flag: 0, extFields }));
  const words = Buffer.alloc(8);
  words.writeInt32BE(4 + header.length, 0);
  words.writeInt32BE(header.length, 4);
  const at = address.lastIndexOf(':');
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(address.slice(at + 1)), address.slice(0, at));
    let received = Buffer.alloc(0);
    socket.setTimeout(10000, () => socket.destroy(new Error(`${address} does not answer request ${code}`)));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`${address} closed on request ${code}`)));
    socket.on('data', bytes => {
      received = Buffer.concat([ received, bytes ]);
      if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return;
      const size = received.readUInt32BE(4) & 0xffffff;
      resolve({
        header: JSON.parse(received.slice(8, 8 + size).toString()),
        body: received.slice(8 + size).toString(),
      });
      socket.destroy();
    });
    socket.write(Buffer.concat([ words, header ]));
  });
}

async function createTopic(nameServer, topic) {
  const route = await request(nameServer, GET_ROUTE, { topic: 'TBW102' });
  const master = /"brokerAddrs":\{"?0"?:"([^"]+)"/.exec(route.body);
  if (!master) throw new Error(`no broker in the route of TBW102: ${route.header.remark || route.body}`);
  const answer = await request(master[1], CREATE_TOPIC, {
    topic, defaultTopic: 'TBW102', readQueueNums: '4', writeQueueNums: '4', perm: '6',
    topicFilterType: 'SINGLE_TAG', topicSysFlag: '0', order: 'false',
  });
  if (answer.header.code !== 0) throw new Error(`topic ${topic} is refused: ${answer.header.remark}`);
  // The broker tells the name server behind its answer.
  for (let attempt = 0; attempt < 600; attempt++) {
    if ((await request(nameServer, GET_ROUTE, { topic })).header.code === 0) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`topic ${topic} never reached the name server`);
}

module.exports = createTopic;
