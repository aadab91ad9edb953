# SPDX-License-Identifier: MIT
# The link seam to Paho: which names the linker must redirect in this archive. It reports nothing if
# a name is called nowhere, and then a function that was renamed would be in force again.
#
#   cmake -DSEAM_LIST=FILE -DSEAM_ARCHIVE=FILE -DCMAKE_NM=nm -P cmake/seam.cmake     prints them

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
    cmake_minimum_required(VERSION 3.25)
endif()

# spoold_seam(LIST ARCHIVE RET): sets RET to the names; ends with an error if the list does not fit.
function(spoold_seam list archive ret)
    execute_process(COMMAND ${CMAKE_NM} --format=posix ${archive}
        OUTPUT_VARIABLE symbols ERROR_VARIABLE said RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "${CMAKE_NM} cannot read ${archive}: ${said}")
    endif()
    file(STRINGS ${list} rows REGEX "^[^#]")
    set(version "")
    set(names "")
    set(missing "")
    foreach(row IN LISTS rows)
        string(REPLACE " " ";" words "${row}")
        list(GET words 0 name)
        list(LENGTH words count)
        if(name STREQUAL "version")
            list(GET words 2 mark)
            if(symbols MATCHES "\n${mark} T")
                list(GET words 1 version)
            endif()
            continue()
        endif()
        string(REPLACE "|" ";" variants "${name}")
        set(called "")
        foreach(variant IN LISTS variants)
            if(symbols MATCHES "\n${variant} U")
                list(APPEND called ${variant})
            endif()
        endforeach()
        if(called)
            # The replacement calls the original by the first name.
            list(GET variants 0 first)
            list(APPEND names ${first} ${called})
            continue()
        endif()
        set(versions ${words})
        list(POP_FRONT versions)
        if(count EQUAL 1 OR version IN_LIST versions)
            string(APPEND missing "\n  ${name}")
        endif()
    endforeach()
    if(NOT version)
        message(FATAL_ERROR "${archive} is of no version of Paho MQTT C that ${list} knows. "
            "docs/paho.md, \"Versions\", says what to do; -DPAHO_LINK=shared builds without the link seam.")
    endif()
    if(missing)
        message(FATAL_ERROR "These functions are called nowhere in ${archive}, which looks like "
            "Paho MQTT C ${version}, so their replacements would never run:${missing}\n"
            "docs/paho.md, \"Versions\", says what to do; -DPAHO_LINK=shared builds without the link seam.")
    endif()
    list(REMOVE_DUPLICATES names)
    set(${ret} ${names} PARENT_SCOPE)
    if(NOT CMAKE_SCRIPT_MODE_FILE)
        message(STATUS "Paho MQTT C: the calls of version ${version}")
    endif()
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
    spoold_seam(${SEAM_LIST} ${SEAM_ARCHIVE} names)
    list(JOIN names "\n" names)
    message("${names}")
endif()
