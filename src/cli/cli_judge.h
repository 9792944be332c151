/*
 * What becomes of one line of an import, by what the store and the lines before
 * it say. The rules are those of docs/cli.md: nothing that is there changes
 * unless asked for, and what is revoked stays so.
 */

#ifndef CLI_JUDGE_H
#define CLI_JUDGE_H

#include "cli_batch.h"


/*
 * item i of the batch: its verdict, and its commands behind those of the
 * change. Another code than CLI_OK means trouble of our own.
 */
int cli_judge(cli_batch_t *batch, size_t i);


#endif /* CLI_JUDGE_H */
