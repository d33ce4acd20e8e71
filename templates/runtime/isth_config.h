/*
 * Isthmus: which parts of the runtime are compiled. A generated tree has a copy that says what its
 * profile needs, so that firmware carries nothing else; this one has everything.
 */
#ifndef ISTH_CONFIG_H
#define ISTH_CONFIG_H

#define ISTH_WITH_PAPER 1     /* scheme "paper" */
#define ISTH_WITH_NEIGHBOUR 1 /* scheme "neighbour" */
#define ISTH_WITH_TRAINED 1   /* the near-lossless codec */
#define ISTH_WITH_SUFFIX 1    /* more than 16 levels */
#define ISTH_WITH_PACKETS 1   /* frames cut into packets */

#endif /* ISTH_CONFIG_H */
