// An echo server with a goroutine for each connection. It prints its address, and ends at the first byte or
// the end of its standard input.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
)

func serve(client net.Conn) {
	defer client.Close()
	buffer := make([]byte, 64*1024)
	for {
		count, err := client.Read(buffer)
		if err != nil {
			return
		}
		if _, err = client.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	go func() {
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client)
	}
}
