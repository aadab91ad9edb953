# SPDX-License-Identifier: MIT
# The bill of materials, CycloneDX 1.5: what the programs are made of, for scanners. Paho is linked
# statically, so no scanner of a machine's packages and shared libraries sees it.
#
# The same sources and packages give the same file: no time, except that of SOURCE_DATE_EPOCH, and a
# serial number from the content. tests/sbom.py compares it with the programs.
#
# It is written by each build, because packages may be upgraded after the tree was configured: cmake
# runs this file again, as a script.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    set(values "")
    foreach(name IN ITEMS PROJECT_VERSION PROJECT_DESCRIPTION PROJECT_BINARY_DIR PKG_CONFIG_EXECUTABLE CMAKE_C_COMPILER
            PAHO_LINK PAHO_LIBRARY OPENSSL_CRYPTO_LIBRARY SQLITE_LINK_LIBRARIES LIBCONFIG_LINK_LIBRARIES
            SYSTEMD_LINK_LIBRARIES JANSSON_LINK_LIBRARIES MOSQUITTO_LINK_LIBRARIES ZLIB_LINK_LIBRARIES)
        string(APPEND values "set(${name} [[${${name}}]])\n")
    endforeach()
    # A tool chain for another architecture sets these.
    foreach(name IN ITEMS PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR)
        if(DEFINED ENV{${name}})
            string(APPEND values "set(ENV{${name}} [[$ENV{${name}}]])\n")
        endif()
    endforeach()
    file(WRITE "${PROJECT_BINARY_DIR}/sbom-values.cmake" "${values}")
    add_custom_target(sbom ALL
        COMMAND ${CMAKE_COMMAND} -D VALUES=${PROJECT_BINARY_DIR}/sbom-values.cmake -P ${CMAKE_CURRENT_LIST_FILE}
        BYPRODUCTS ${PROJECT_BINARY_DIR}/sbom.cdx.json
        COMMENT "Writing the bill of materials")
    install(FILES "${PROJECT_BINARY_DIR}/sbom.cdx.json" DESTINATION ${CMAKE_INSTALL_DATADIR}/mqtt-spoold)
    return()
endif()
cmake_minimum_required(VERSION 3.25)
include("${VALUES}")
find_program(SPOOLD_DPKG_QUERY dpkg-query)

# spoold_sbom_package(FILE ret_name ret_version): the Debian package that FILE is of, "" if none is known.
function(spoold_sbom_package file ret_name ret_version)
    set(${ret_name} "" PARENT_SCOPE)
    set(${ret_version} "" PARENT_SCOPE)
    if(NOT SPOOLD_DPKG_QUERY)
        return()
    endif()
    file(REAL_PATH "${file}" real)
    string(REGEX REPLACE "^/usr/lib/" "/lib/" merged "${real}") # as packages name it that are older
    foreach(path IN ITEMS "${real}" "${merged}" "${file}") # the link is one of a -dev package
        execute_process(COMMAND "${SPOOLD_DPKG_QUERY}" --search "${path}"
            OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE failed)
        if(NOT failed AND found MATCHES "^([^ ,]+): ")
            set(package "${CMAKE_MATCH_1}")
            execute_process(COMMAND "${SPOOLD_DPKG_QUERY}" --show "--showformat=\${Package} \${Version} \${Architecture}" "${package}"
                OUTPUT_VARIABLE shown ERROR_QUIET)
            if(shown MATCHES "^([^ ]+) ([^ ]+) ([^ ]+)$")
                set(${ret_name} "${CMAKE_MATCH_1}" PARENT_SCOPE)
                set(${ret_version} "${CMAKE_MATCH_2}?arch=${CMAKE_MATCH_3}" PARENT_SCOPE)
            endif()
            return()
        endif()
    endforeach()
endfunction()

# spoold_sbom_component(NAME VERSION LICENCE CPE USERS LINKAGE FILE LIBRARY...): adds one to
# spoold_sbom_components. USERS: which programs link it. FILE: the library itself, for its package.
# LIBRARY: file names of the shared libraries, without a version.
function(spoold_sbom_component name version licence cpe users linkage file)
    spoold_sbom_package("${file}" package package_version)
    if(package)
        string(REPLACE "+" "%2B" package_version "${package_version}")
        string(REGEX REPLACE "^([0-9]+):" "\\1%3A" package_version "${package_version}")
        set(purl "pkg:deb/debian/${package}@${package_version}")
    else()
        set(purl "pkg:generic/${name}@${version}")
    endif()
    set(properties "        { \"name\": \"mqtt-spoold:linkage\", \"value\": \"${linkage}\" },\n        { \"name\": \"mqtt-spoold:used-by\", \"value\": \"${users}\" }")
    foreach(library IN LISTS ARGN)
        string(APPEND properties ",\n        { \"name\": \"mqtt-spoold:library\", \"value\": \"${library}\" }")
    endforeach()
    set(notes "")
    if(linkage STREQUAL "static")
        set(notes "      \"description\": \"linked statically into mqtt-spoold, with functions replaced: see docs/paho.md\",\n")
    endif()
    string(APPEND spoold_sbom_components ",
    {
      \"type\": \"library\",
      \"bom-ref\": \"${name}\",
      \"name\": \"${name}\",
      \"version\": \"${version}\",
${notes}      \"licenses\": [ { \"expression\": \"${licence}\" } ],
      \"cpe\": \"cpe:2.3:a:${cpe}:${version}:*:*:*:*:*:*:*\",
      \"purl\": \"${purl}\",
      \"properties\": [
${properties}
      ]
    }")
    set(spoold_sbom_components "${spoold_sbom_components}" PARENT_SCOPE)
    set(spoold_sbom_names "${spoold_sbom_names};${name}" PARENT_SCOPE)
endfunction()

# Neither has a file for pkg-config: the version stands in the library. That of Paho is wrong in
# Debian 12 (1.3.11 in 1.3.12), so the package's comes first.
spoold_sbom_package("${PAHO_LIBRARY}" spoold_paho_package spoold_paho_version)
if(spoold_paho_version)
    string(REGEX REPLACE "^([0-9]+:)?([0-9.]+).*" "\\2" spoold_paho_version "${spoold_paho_version}")
else()
    file(STRINGS "${PAHO_LIBRARY}" spoold_paho_version REGEX "^1\\.[0-9]+\\.[0-9]+$" LIMIT_COUNT 1)
endif()
execute_process(COMMAND "${CMAKE_C_COMPILER}" -print-file-name=libc.so.6
    OUTPUT_VARIABLE spoold_libc OUTPUT_STRIP_TRAILING_WHITESPACE)
file(STRINGS "${spoold_libc}" spoold_libc_version REGEX "release version [0-9.]+[0-9]" LIMIT_COUNT 1)
string(REGEX REPLACE ".*release version ([0-9.]+[0-9]).*" "\\1" spoold_libc_version "${spoold_libc_version}")
foreach(module IN ITEMS sqlite3 libcrypto libconfig libsystemd jansson libmosquitto zlib)
    execute_process(COMMAND "${PKG_CONFIG_EXECUTABLE}" --modversion ${module}
        OUTPUT_VARIABLE spoold_version_${module} OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endforeach()

if(PAHO_LINK STREQUAL "static")
    set(spoold_paho_linkage static)
    set(spoold_paho_shared "")
else()
    set(spoold_paho_linkage dynamic)
    set(spoold_paho_shared libpaho-mqtt3as.so)
endif()

set(spoold_sbom_components "")
set(spoold_sbom_names "")
spoold_sbom_component(paho.mqtt.c "${spoold_paho_version}" "EPL-2.0 OR BSD-3-Clause" eclipse:paho_mqtt_c
    "mqtt-spoold" ${spoold_paho_linkage} "${PAHO_LIBRARY}" ${spoold_paho_shared})
spoold_sbom_component(sqlite "${spoold_version_sqlite3}" "blessing" sqlite:sqlite
    "mqtt-spoold mqtt-spool" dynamic "${SQLITE_LINK_LIBRARIES}" libsqlite3.so)
spoold_sbom_component(openssl "${spoold_version_libcrypto}" "Apache-2.0" openssl:openssl
    "mqtt-spoold mqtt-spool" dynamic "${OPENSSL_CRYPTO_LIBRARY}" libssl.so libcrypto.so)
spoold_sbom_component(libconfig "${spoold_version_libconfig}" "LGPL-2.1-or-later" hyperrealm:libconfig
    "mqtt-spoold mqtt-spool" dynamic "${LIBCONFIG_LINK_LIBRARIES}" libconfig.so)
spoold_sbom_component(libsystemd "${spoold_version_libsystemd}" "LGPL-2.1-or-later" systemd_project:systemd
    "mqtt-spoold" dynamic "${SYSTEMD_LINK_LIBRARIES}" libsystemd.so)
spoold_sbom_component(jansson "${spoold_version_jansson}" "MIT" jansson_project:jansson
    "mqtt-spoold mqtt-spool" dynamic "${JANSSON_LINK_LIBRARIES}" libjansson.so)
spoold_sbom_component(mosquitto "${spoold_version_libmosquitto}" "EPL-2.0 OR BSD-3-Clause" eclipse:mosquitto
    "mqtt-spool" dynamic "${MOSQUITTO_LINK_LIBRARIES}" libmosquitto.so)
spoold_sbom_component(zlib "${spoold_version_zlib}" "Zlib" zlib:zlib
    "mqtt-spool" dynamic "${ZLIB_LINK_LIBRARIES}" libz.so)
spoold_sbom_component(glibc "${spoold_libc_version}" "LGPL-2.1-or-later" gnu:glibc
    "mqtt-spoold mqtt-spool" dynamic "${spoold_libc}" libc.so)
string(REGEX REPLACE "^,\n" "" spoold_sbom_components "${spoold_sbom_components}")
list(REMOVE_ITEM spoold_sbom_names "")
list(TRANSFORM spoold_sbom_names REPLACE "(.+)" "\"\\1\"")
list(JOIN spoold_sbom_names ", " spoold_sbom_names)

set(spoold_sbom_time "")
if(DEFINED ENV{SOURCE_DATE_EPOCH})
    string(TIMESTAMP spoold_sbom_time "%Y-%m-%dT%H:%M:%SZ" UTC)
    set(spoold_sbom_time "    \"timestamp\": \"${spoold_sbom_time}\",\n")
endif()
string(UUID spoold_sbom_serial NAMESPACE 6ba7b811-9dad-11d1-80b4-00c04fd430c8 # that of URLs
    NAME "mqtt-spoold ${PROJECT_VERSION} ${spoold_sbom_components}" TYPE SHA1)
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/sbom.cdx.json" @ONLY CONTENT [[
{
  "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
  "bomFormat": "CycloneDX",
  "specVersion": "1.5",
  "serialNumber": "urn:uuid:@spoold_sbom_serial@",
  "version": 1,
  "metadata": {
@spoold_sbom_time@    "component": {
      "type": "application",
      "bom-ref": "mqtt-spoold",
      "name": "mqtt-spoold",
      "version": "@PROJECT_VERSION@",
      "description": "@PROJECT_DESCRIPTION@",
      "licenses": [ { "expression": "MIT" } ],
      "purl": "pkg:generic/mqtt-spoold@@PROJECT_VERSION@"
    }
  },
  "components": [
@spoold_sbom_components@
  ],
  "dependencies": [
    { "ref": "mqtt-spoold", "dependsOn": [ @spoold_sbom_names@ ] }
  ]
}
]])
