# SPDX-License-Identifier: MIT
# Where Debian expects things, given the prefix /usr (cmake --install BUILD --prefix /usr): the unit
# runs /usr/sbin/mqtt-spoold, and the daemon's default is /etc/mqtt-spoold/mqtt-spoold.conf.
install(TARGETS mqtt-spoold RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS mqtt-spool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# systemd looks here whatever the multiarch library folder is called.
install(FILES systemd/mqtt-spoold.service systemd/mqtt-spoold.socket systemd/mqtt-spoold-retry.timer
        systemd/mqtt-spool-metrics.service systemd/mqtt-spool-metrics.timer
        DESTINATION lib/systemd/system)
install(FILES systemd/mqtt-spoold.sysusers DESTINATION lib/sysusers.d RENAME mqtt-spoold.conf)
install(FILES systemd/mqtt-spoold.catalog DESTINATION lib/systemd/catalog)

install(FILES completion/mqtt-spool DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES man/mqtt-spool.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES man/mqtt-spoold.conf.5 man/mqtt-spool-format.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES man/mqtt-spool-protocol.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
install(FILES man/mqtt-spoold.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES README.md CHANGELOG.md SECURITY.md LICENSE
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mqtt-spoold)
# The sample, which errors of the configuration name.
install(FILES etc/mqtt-spoold.conf DESTINATION ${CMAKE_INSTALL_DATADIR}/mqtt-spoold)
# README.md and the man pages send readers there.
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mqtt-spoold)

install(PROGRAMS scripts/mosquitto-to-spoold
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/mqtt-spoold/examples)

# spoold_install_setting(SOURCE FOLDER NAME): a file that the administrator edits, and that a second
# installation therefore leaves as it is. The prefix is known only when installing.
function(spoold_install_setting source folder name)
    install(CODE "
        set(etc \"${CMAKE_INSTALL_SYSCONFDIR}\")
        if(NOT IS_ABSOLUTE \"\${etc}\")
            string(REGEX REPLACE \"^/usr$\" \"\" root \"\${CMAKE_INSTALL_PREFIX}\")
            set(etc \"\${root}/\${etc}\")
        endif()
        if(EXISTS \"\$ENV{DESTDIR}\${etc}/${folder}/${name}\")
            message(STATUS \"Keeping: \$ENV{DESTDIR}\${etc}/${folder}/${name}\")
        else()
            file(INSTALL \"${PROJECT_SOURCE_DIR}/${source}\" DESTINATION \"\${etc}/${folder}\"
                 RENAME \"${name}\" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
        endif()")
endfunction()
spoold_install_setting(etc/mqtt-spoold.conf mqtt-spoold mqtt-spoold.conf)
spoold_install_setting(etc/mqtt-spoold.logrotate logrotate.d mqtt-spoold)
