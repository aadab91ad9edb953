# SPDX-License-Identifier: MIT
# One target carries what every source of the project is compiled with.
add_library(spoold_flags INTERFACE)
target_compile_definitions(spoold_flags INTERFACE _GNU_SOURCE SPOOLD_VERSION="${PROJECT_VERSION}")
# On 32 bits, files over 2 GiB and times beyond 2038; it changes nothing on 64. base/clock.c and
# store/room.c assert it.
add_compile_definitions(_FILE_OFFSET_BITS=64 _TIME_BITS=64)
target_include_directories(spoold_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(spoold_flags INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wswitch-enum
    -Wformat=2 -Wundef -Wpointer-arith -Wcast-qual -Wwrite-strings -Wdouble-promotion
    -Wimplicit-fallthrough -fno-strict-aliasing -fno-common
    $<$<BOOL:${SPOOLD_WERROR}>:-Werror>)
if(SPOOLD_FAILPOINTS)
    target_compile_definitions(spoold_flags INTERFACE SPOOLD_FAILPOINTS)
endif()
if(SPOOLD_SANITIZE)
    target_compile_options(spoold_flags INTERFACE
        -fsanitize=${SPOOLD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(spoold_flags INTERFACE -fsanitize=${SPOOLD_SANITIZE})
else()
    # What Debian hardens its packages with; it does not go together with sanitizers.
    target_compile_options(spoold_flags INTERFACE
        $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>
        -fstack-protector-strong -fstack-clash-protection
        $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection>)
    target_link_options(spoold_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,--as-needed)
endif()
# Assertions stay in a release: CMake's own default, which would take them out with NDEBUG, is
# replaced, and nothing that the user has set.
if(CMAKE_C_FLAGS_RELWITHDEBINFO MATCHES "^ *-O2 -g -DNDEBUG *$")
    set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
endif()

# spoold_module(NAME source... [LINK library...]): one module is one static library, so that a test
# links just the modules it is about, and a missing arrow shows as an undefined symbol.
function(spoold_module name)
    cmake_parse_arguments(PARSE_ARGV 1 module "" "" "LINK")
    add_library(${name} STATIC ${module_UNPARSED_ARGUMENTS})
    target_link_libraries(${name} PUBLIC spoold_flags ${module_LINK}
        $<$<BOOL:${SPOOLD_FAILPOINTS}>:failpoint>)
endfunction()
