/*
 * Isthmus: status numbers, shared by this runtime, the Python packages and docs/BITSTREAM.md.
 *
 * The table in host/isthmus/errors.py is the single source; a test holds this file to it.
 * A number is never given a second meaning.
 */
#ifndef ISTH_STATUS_H
#define ISTH_STATUS_H

typedef enum isth_status {
    ISTH_OK = 0,
    ISTH_E_TRUNCATED = 1,     /* the frame ends before its header or its payload does */
    ISTH_E_VERSION = 2,       /* the frame's version is not one this decoder knows */
    ISTH_E_FLAGS = 3,         /* a reserved flag bit is set */
    ISTH_E_PROFILE = 4,       /* the frame was made with another profile */
    ISTH_E_RUNG = 5,          /* the profile has no rung of that number */
    ISTH_E_SLICE = 6,         /* the slice number does not fit the profile */
    ISTH_E_LENGTH = 7,        /* the payload is longer than any valid slice can be */
    ISTH_E_CHECKSUM = 8,      /* the checksum does not match the bytes */
    ISTH_E_TRAILING = 9,      /* bytes follow the end of the frame */
    ISTH_E_PAYLOAD = 10,      /* the payload is not what an encoder writes for this slice */
    ISTH_E_LEVEL = 11,        /* a decoded level is not below the rung's number of levels */
    ISTH_E_SEQUENCE = 12,     /* slices of different sequence numbers or rungs in one frame */
    ISTH_E_MISSING_SLICE = 13, /* a slice of the frame is missing */
    ISTH_E_BUFFER = 14, /* the output does not fit the buffer; the size needed is returned */
    ISTH_E_STATE = 15, /* the call does not fit the encoder's state */
    ISTH_E_ARGUMENT = 16 /* an argument is out of its range */
} isth_status;

#endif /* ISTH_STATUS_H */
