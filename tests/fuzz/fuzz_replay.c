/* Runs a fuzzer's property over the files it is given: the corpus, without libFuzzer. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz_harness.h"

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    rewind(file);
    data = fuzz_block((size_t)size, 0);
    if (fread(data, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that fails */
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return 0;
}

int main(int count, char **paths) {
    int i;

    for (i = 1; i < count; i++) {
        if (replay(paths[i]) != 0) {
            return 2;
        }
    }
    printf("%d inputs, every property holds\n", count - 1);
    return 0;
}
