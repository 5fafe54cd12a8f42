/* The version of the program: the one place where it stands. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define HOLDFAST_VERSION "0.1.0"

#endif
