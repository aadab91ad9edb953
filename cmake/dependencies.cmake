# SPDX-License-Identifier: MIT
# Every foreign library as a target. Each has one door in the source: see docs/design.md.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.37)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd>=247)
pkg_check_modules(LIBCONFIG REQUIRED IMPORTED_TARGET libconfig)
pkg_check_modules(MOSQUITTO REQUIRED IMPORTED_TARGET libmosquitto>=2.0)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

# Paho: Debian ships no pkg-config file, and a CMake package that says 1.3.11 whatever it is. So no
# version is asked for. OpenSSL comes first, for Paho's own targets refer to it.
find_package(OpenSSL REQUIRED)
find_path(PAHO_INCLUDE_DIR MQTTAsync.h REQUIRED)
if(PAHO_LINK STREQUAL "static")
    find_library(PAHO_LIBRARY libpaho-mqtt3as.a REQUIRED)
    add_library(paho STATIC IMPORTED)
elseif(PAHO_LINK STREQUAL "shared")
    find_library(PAHO_SHARED_LIBRARY paho-mqtt3as REQUIRED)
    set(PAHO_LIBRARY ${PAHO_SHARED_LIBRARY})
    add_library(paho SHARED IMPORTED)
else()
    message(FATAL_ERROR "PAHO_LINK is \"${PAHO_LINK}\": it must be static or shared")
endif()
set_target_properties(paho PROPERTIES
    IMPORTED_LOCATION ${PAHO_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${PAHO_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES "OpenSSL::SSL;OpenSSL::Crypto;Threads::Threads;${CMAKE_DL_LIBS}")
