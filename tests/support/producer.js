// SPDX-License-Identifier: MIT
// A real MQTT.js producer: node producer.js SOCKET VERSION COUNT TOPIC
// Publishes COUNT messages at QoS 1 and prints one line of JSON for each acknowledgement.
'use strict';
const mqtt = require('mqtt');
const [socket, version, count, topic] = process.argv.slice(2);

async function main() {
    const client = await mqtt.connectAsync('mqtt+unix://' + socket, {
        protocolVersion: Number(version),
        clientId: 'mqttjs-' + version,
        reconnectPeriod: 0,
        connectTimeout: 10000,
    });
    const options = { qos: 1 };
    if (version === '5')
        options.properties = { contentType: 'text/plain', userProperties: { from: 'mqttjs' } };
    // The promise of publishAsync() tells of the PUBLISH; the PUBACK itself is seen here only.
    let index = 0;
    client.on('packetreceive', (packet) => {
        if (packet.cmd !== 'puback')
            return;
        const user = packet.properties && packet.properties.userProperties;
        console.log(JSON.stringify({ index: index++, id: user ? user['spool-id'] : null }));
    });
    for (let i = 0; i < Number(count); i++)
        await client.publishAsync(topic, Buffer.from([0, i, 255]), options);
    await client.endAsync();
}

main().catch((error) => {
    console.error(String(error));
    process.exit(1);
});
