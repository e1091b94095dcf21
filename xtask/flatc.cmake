# flatc without its library, its tests and what debuggers want: it is only asked what to make of our schemas.
set(FLATBUFFERS_BUILD_TESTS OFF CACHE BOOL "")
set(FLATBUFFERS_BUILD_FLATLIB OFF CACHE BOOL "")
set(FLATBUFFERS_ENABLE_PCH ON CACHE BOOL "")
set(CMAKE_CXX_FLAGS_DEBUG "" CACHE STRING "")
