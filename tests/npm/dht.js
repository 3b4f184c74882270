// bittorrent-dht over npm's PeerRelay.Socket. node dht.js '{"bootstrap": [URL]}'; told and telling as agent.js.
const DHT = require('bittorrent-dht')
const PeerRelay = require('peer-relay')

const settings = JSON.parse(process.argv[2])
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const socket = new PeerRelay.Socket({ bootstrap: settings.bootstrap })
const dht = new DHT({ bootstrap: false, socket: socket, isIP: () => true })
dht.on('node', (node) => tell({ event: 'node', id: node.id.toString('hex'), host: node.host }))
dht.on('announce', (peer, hash) => tell({ event: 'announce', host: peer.host, port: peer.port, hash: hash.toString('hex') }))
dht.on('error', (error) => tell({ event: 'error', text: String(error) }))
socket.peer.on('peer', (id) => tell({ event: 'peer', id: id.toString('hex') }))
tell({ event: 'ready', id: socket.peer.id.toString('hex'), url: null, node: dht.nodeId.toString('hex') })

process.stdin.on('data', (chunk) => {
  for (const line of chunk.toString().split('\n').filter(Boolean)) {
    const command = JSON.parse(line)
    if (command.do === 'add') dht.addNode({ host: command.id, port: command.port })
    if (command.do === 'lookup') dht.lookup(command.hash)
  }
})
process.stdin.on('end', () => process.exit(0))
