/* SPDX-License-Identifier: MIT */
/*
 * paho_properties.c - reads the texts of a broker that Paho MQTT C drops
 *
 * Paho reports a refused CONNECT by its code alone (upstream: none known). It reads the
 * properties of each packet in one function, which is replaced here at link time: the texts are
 * copied and everything else is as before. docs/paho.md has when it can be removed.
 */
#include <MQTTProperties.h>

#include "daemon/uplink/paho/paho_words.h"

int __real_MQTTProperties_read(MQTTProperties *properties, char **data, char *end);
int __wrap_MQTTProperties_read(MQTTProperties *properties, char **data, char *end);

int __wrap_MQTTProperties_read(MQTTProperties *properties, char **data, char *end)
{
    int rc = __real_MQTTProperties_read(properties, data, end);

    if (rc == 1 && properties->count > 0)
        paho_words_keep(properties);
    return rc;
}
