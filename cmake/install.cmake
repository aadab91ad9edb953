# Where Debian expects things. The prefix should be /usr for a real installation.
install(TARGETS mqtt-spoold RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS mqtt-spool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
