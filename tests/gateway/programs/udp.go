// A static program with Go's own network poller: udp echo PORT, or udp ask HOST PORT COUNT.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	data := make([]byte, 65536)
	if os.Args[1] == "echo" {
		socket, err := net.ListenPacket("udp", ":"+os.Args[2])
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		for {
			size, from, err := socket.ReadFrom(data)
			if err == nil {
				socket.WriteTo(data[:size], from)
			}
		}
	}
	socket, err := net.Dial("udp", net.JoinHostPort(os.Args[2], os.Args[3]))
	if err != nil {
		panic(err)
	}
	count, _ := strconv.Atoi(os.Args[4])
	answered := 0
	for i := 0; i < count; i++ {
		socket.SetDeadline(time.Now().Add(10 * time.Second))
		socket.Write(make([]byte, 1200))
		if size, err := socket.Read(data); err == nil && size == 1200 {
			answered++
		}
	}
	fmt.Println(answered, "of", count)
}
