// SPDX-License-Identifier: MIT
// Publish one message with MQTT.js 5 (npm install mqtt), and wait for its outcome:
//
//     node mqttjs.js SOCKET CLIENT_ID TOPIC PAYLOAD
//
// Exit status: 0 delivered, 1 refused or not delivered, 2 no connection.
'use strict';
const mqtt = require('mqtt');
const [socket, clientId, topic, payload] = process.argv.slice(2);

async function main() {
    const client = await mqtt.connectAsync('mqtt+unix://' + socket, {
        protocolVersion: 5,
        clientId,
        reconnectPeriod: 0, // a program that stays would let the library connect again
    });

    // PUBACK: the message is on disk. publishAsync() does not return its properties.
    client.on('packetreceive', (packet) => {
        const user = packet.cmd === 'puback' && packet.properties?.userProperties;
        if (user && user['spool-id'])
            console.log('accepted id=' + user['spool-id']);
    });
    client.on('disconnect', (packet) => console.log('disconnected ' + hex(packet.reasonCode)));

    // First the subscription: an outcome is sent once, when the message ends. One JSON object
    // says how it ended; it may take days until it comes.
    const ended = new Promise((resolve, reject) => {
        client.on('message', (from, record) => {
            console.log(record.toString());
            resolve(from.startsWith('$SYS/spool/delivered/') ? 0 : 1);
        });
        client.on('close', () => reject(new Error('connection closed')));
    });
    ended.catch(() => {}); // it may be refused before anybody waits for it
    await client.subscribeAsync(['$SYS/spool/outcome/' + clientId,
        '$SYS/spool/delivered/' + clientId], { qos: 1 });

    let exitCode;
    try {
        await client.publishAsync(topic, payload, { qos: 1 });
        exitCode = await ended;
    } catch (error) {
        if (!error.code)
            throw error;
        console.log('refused ' + hex(error.code));
        exitCode = 1;
    }
    await client.endAsync();
    return exitCode;
}

function hex(code) {
    return '0x' + code.toString(16).toUpperCase().padStart(2, '0');
}

main().then((code) => process.exit(code), (error) => {
    console.error(String(error));
    process.exit(2);
});
