# SPDX-License-Identifier: MIT
# Builds for another processor with Debian's cross compiler; see scripts/test-arch, which sets
# SPOOLD_ARCH (arm64 or armhf) and SPOOLD_SYSROOT, the libraries of that processor, and where
# pkg-config looks.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SPOOLD_ARCH SPOOLD_SYSROOT)
set(CMAKE_SYSTEM_NAME Linux)
if(SPOOLD_ARCH STREQUAL "arm64")
    set(CMAKE_SYSTEM_PROCESSOR aarch64)
    set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
    set(qemu qemu-aarch64)
elseif(SPOOLD_ARCH STREQUAL "armhf")
    set(CMAKE_SYSTEM_PROCESSOR armv7l)
    set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabihf)
    set(qemu qemu-arm)
else()
    message(FATAL_ERROR "SPOOLD_ARCH is \"${SPOOLD_ARCH}\": it must be arm64 or armhf")
endif()
set(CMAKE_C_COMPILER ${CMAKE_LIBRARY_ARCHITECTURE}-gcc)
set(CMAKE_SYSROOT ${SPOOLD_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_CROSSCOMPILING_EMULATOR
    ${CMAKE_CURRENT_LIST_DIR}/../scripts/emulate ${qemu} ${SPOOLD_SYSROOT})
