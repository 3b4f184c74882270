// One peer of the real npm package in a process of its own, told what to do, and telling what happens, in lines of JSON.
// node agent.js '{"kind": "peer" or "socket", "port": N or absent, "bootstrap": [URL, ...], "bind": N, "wrtc": true or absent}'
const crypto = require('crypto')
const PeerRelay = require('peer-relay')

const settings = JSON.parse(process.argv[2])
const opts = { port: settings.port, bootstrap: settings.bootstrap || [] }
if (settings.wrtc) {
  // @roamhq/wrtc is libwebrtc; simple-peer's own STUN servers are on the internet, and their URLs no longer valid ones
  const wrtc = require('@roamhq/wrtc')
  opts.wrtc = Object.assign({}, wrtc, { RTCPeerConnection: function () { return new wrtc.RTCPeerConnection() } })
}
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const bytes = (hex) => Buffer.from(hex, 'hex')
const digest = (data) => crypto.createHash('sha256').update(data).digest('hex')

let socket = null
let echo = false
let peer
if (settings.kind === 'socket') {
  socket = new PeerRelay.Socket(opts)
  peer = socket.peer
  socket.bind(settings.bind, () => tell({ event: 'listening', address: socket.address() }))
  socket.on('message', (data, rinfo) => {
    tell({ event: 'datagram', size: data.length, digest: digest(data), address: rinfo.address, port: rinfo.port })
    if (echo) socket.send(data, 0, data.length, rinfo.port, rinfo.address)
  })
} else {
  peer = new PeerRelay(opts)
  peer.on('message', (data, id) => tell({ event: 'message', data: data, from: id.toString('hex') }))
}
peer.on('peer', (id) => tell({ event: 'peer', id: id.toString('hex') }))

const ready = () => tell({ event: 'ready', id: peer.id.toString('hex'), url: peer.wsConnector.url })
if (settings.port == null) ready()
else peer.wsConnector._wss.on('listening', ready)

const commands = {
  send: (c) => peer.send(bytes(c.id), c.data),
  connect: (c) => peer.connect(bytes(c.id)),
  disconnect: (c) => peer.disconnect(bytes(c.id)),
  datagram: (c) => socket.send(bytes(c.data), 0, c.data.length / 2, c.port, c.id),
  echo: () => { echo = true; tell({ event: 'echoing' }) },
  peers: () => tell({ event: 'peers', ids: peer.peers.toArray().map((p) => p.id.toString('hex')) }),
  destroy: () => peer.destroy(() => tell({ event: 'destroyed' }))
}

let rest = ''
process.stdin.on('data', (chunk) => {
  const lines = (rest + chunk).split('\n')
  rest = lines.pop()
  for (const line of lines) {
    const command = JSON.parse(line)
    commands[command.do](command)
  }
})
process.stdin.on('end', () => process.exit(0))
