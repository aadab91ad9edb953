// SPDX-License-Identifier: MIT

// Publish one message with paho.mqtt.golang 1.1 (Debian 12:
// golang-github-eclipse-paho.mqtt.golang-dev), and wait for its outcome:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o publish paho.go
//	./publish SOCKET CLIENT_ID TOPIC PAYLOAD
//
// It speaks MQTT 3.1.1: there is no spool-id, and a refusal closes the connection.
// Exit status: 0 delivered, 1 not delivered, 2 refused or no connection.
package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func fail(what string, err error) {
	fmt.Println(what, err)
	os.Exit(2)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: publish SOCKET CLIENT_ID TOPIC PAYLOAD")
		os.Exit(64)
	}
	socket, clientID, topic, payload := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	lost := make(chan error, 1)
	ended := make(chan mqtt.Message, 1)

	options := mqtt.NewClientOptions().SetClientID(clientID).SetProtocolVersion(4)
	// AddBroker("unix:///run/...") would dial an empty name: the library takes the path from Host.
	options.Servers = []*url.URL{{Scheme: "unix", Host: socket}}
	options.SetAutoReconnect(false) // a program that stays would let the library connect again
	options.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	client := mqtt.NewClient(options)
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		fail("connection refused:", token.Error())
	}

	// First the subscription: an outcome is sent once, when the message ends.
	filters := map[string]byte{
		"$SYS/spool/outcome/" + clientID:   1,
		"$SYS/spool/delivered/" + clientID: 1,
	}
	onMessage := func(_ mqtt.Client, message mqtt.Message) { ended <- message }
	subscribed := client.SubscribeMultiple(filters, onMessage)
	if subscribed.Wait() && subscribed.Error() != nil {
		fail("subscription refused:", subscribed.Error())
	}

	// The token of a message is done with its PUBACK: the message is on disk.
	accepted := make(chan error, 1)
	go func() {
		token := client.Publish(topic, 1, false, payload)
		token.Wait()
		accepted <- token.Error()
	}()
	for {
		select {
		case err := <-accepted:
			if err != nil {
				fail("disconnected:", err)
			}
			fmt.Println("accepted")
			accepted = nil
		case err := <-lost:
			fail("disconnected:", err)
		case message := <-ended: // one JSON object; it may take days until it comes
			fmt.Println(string(message.Payload()))
			client.Disconnect(100)
			if !strings.HasPrefix(message.Topic(), "$SYS/spool/delivered/") {
				os.Exit(1)
			}
			return
		}
	}
}
