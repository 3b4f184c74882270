// A page with the npm package's bundle.js in headless Chromium: a PeerRelay.Socket that sends back what it hears.
// node browser.js '{"page": URL, "bootstrap": URL, "chromium": path}'; tells what happens in lines of JSON.
const readline = require('readline')
const { chromium } = require('playwright-core')
const settings = JSON.parse(process.argv[2])
const tell = (event) => process.stdout.write(JSON.stringify(event) + '\n')

async function main () {
  const browser = await chromium.launch({ executablePath: settings.chromium, args: ['--no-sandbox'] })
  process.stdin.on('end', () => browser.close().then(() => process.exit(0)))
  const page = await browser.newPage()
  page.on('console', (message) => tell({ event: 'console', text: message.text() }))
  page.on('pageerror', (error) => tell({ event: 'console', text: String(error) }))
  await page.exposeFunction('tell', tell)
  await page.goto(settings.page)
  await page.evaluate((bootstrap) => {
    const socket = window.socket = new window.PeerRelay.Socket({ bootstrap: [bootstrap] })
    socket.on('message', (data, rinfo) => {
      window.tell({ event: 'datagram', size: data.length, address: rinfo.address, port: rinfo.port })
      socket.send(data, 0, data.length, rinfo.port, rinfo.address)
    })
    socket.peer.on('peer', (id) => window.tell({ event: 'peer', id: id.toString('hex') }))
    window.tell({ event: 'ready', id: socket.peer.id.toString('hex'), url: null })
  }, settings.bootstrap)

  const commands = {
    connect: (id) => window.socket.peer.connect(window.socket.peer.id.constructor.from(id, 'hex')),
    peers: () => window.tell({ event: 'peers', ids: window.socket.peer.peers.toArray().map((p) => p.id.toString('hex')) })
  }
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const command = JSON.parse(line)
    page.evaluate(commands[command.do], command.id)
  })
}

main().catch((error) => { console.error(error); process.exit(1) })
