// The two ends of a benchmark and its relay, on npm peer-relay: what ends.py does in Python.
// node npm_end.js answer|relay PORT|"" URL|""     node npm_end.js ask ADDRESS URL
// NPM_FOLDER: where npm installed it. UNCOMPRESSED: turn its permessage-deflate off.
'use strict'
const folder = process.env.NPM_FOLDER + '/node_modules/'
if (process.env.UNCOMPRESSED) {
  const ws = require(folder + 'ws')
  const { Server } = ws
  ws.Server = function (options, ready) { return new Server({ ...options, perMessageDeflate: false }, ready) }
}
const { Socket } = require(folder + 'peer-relay')
const [role, first, url] = process.argv.slice(2)
const say = value => process.stdout.write(JSON.stringify(value) + '\n')
const clock = () => Number(process.hrtime.bigint()) / 1e9
const control = value => Buffer.concat([Buffer.from([0]), Buffer.from(JSON.stringify(value))])
const lines = require('readline').createInterface({ input: process.stdin })
lines.on('close', () => process.exit(0))

const options = { bootstrap: url ? [url] : [] }
if (role !== 'ask' && first) options.port = Number(first)
const socket = new Socket(options)
const send = (data, address) => socket.send(data, 0, data.length, 9000, address)

if (role === 'ask') {
  let heard = () => {}
  socket.on('message', data => heard(data))
  // As ends.py's `control`: say it until it is answered.
  const told = (run, echo) => new Promise(resolve => {
    const say = () => send(control({ run, echo }), first)
    const again = setInterval(say, 200)
    heard = data => {
      if (data[0] !== 0) return
      const [of, received, receiving] = JSON.parse(data.slice(1))
      if (of !== run) return
      clearInterval(again)
      resolve([received, receiving])
    }
    say()
  })
  // npm's sender queues without limit: ungated, one second's datagrams take ten to drain.
  const room = () => {
    const [channel] = socket.peer.peers.toArray()
    return channel.ws.bufferedAmount < 262144 && channel.ws._sender.messageHandlers.length < 64
  }
  const flood = async ({ run, size, seconds }) => {
    await told(run, false)
    const payload = Buffer.alloc(size, run)
    let sent = 0
    const began = clock()
    while (clock() - began < seconds) {
      for (let i = 0; i < 32 && room(); i++, sent++) send(payload, first)
      await new Promise(setImmediate)
    }
    const sending = clock() - began
    for (let before = -1; ;) {
      const [received, receiving] = await told(run, false)
      if (received === before) return { sent, sending, received, receiving }
      before = received
      await new Promise(resolve => setTimeout(resolve, 200))
    }
  }
  const ping = async ({ run, size, count }) => {
    await told(run, true)
    const payload = Buffer.alloc(size, run)
    const seconds = []
    for (let i = 0; i < count; i++) {
      const began = clock()
      await new Promise(resolve => { heard = data => data[0] === run && resolve(); send(payload, first) })
      seconds.push(clock() - began)
    }
    return { seconds, lost: 0 }
  }
  lines.on('line', async line => {
    const command = JSON.parse(line)
    say(await { flood, ping }[command.do](command))
  })
  setTimeout(() => say('ready'), 500)
} else {
  let run = -1; let echo = false; let received = 0; let began = 0; let last = 0
  socket.on('message', (data, source) => {
    if (data[0] === run) {
      last = clock()
      if (echo) send(data, source.address)
      else if (!received++) began = last
    } else if (data[0] === 0) {
      const asked = JSON.parse(data.slice(1))
      if (asked.run !== run) { ({ run, echo } = asked); received = 0; began = last = 0 }
      send(control([run, received, last - began]), source.address)
    }
  })
  setTimeout(() => say(socket.address().address), 500)
}
