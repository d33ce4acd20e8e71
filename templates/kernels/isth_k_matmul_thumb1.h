/* Isthmus kernels: the inner loops of isth_k_matmul.h for processors with eight low registers. */
#ifndef ISTH_K_MATMUL_THUMB1_H
#define ISTH_K_MATMUL_THUMB1_H

#include "isth_k_matmul_portable.h"

#endif
