/*
 * The nouns of the command, each from the file of its name. To add one: its
 * file, a line here, a line in cli_main.c.
 */

#ifndef CLI_NOUNS_H
#define CLI_NOUNS_H

#include "cli.h"


extern const cli_noun_t  cli_account_noun;
extern const cli_noun_t  cli_key_noun;
extern const cli_noun_t  cli_token_noun;
extern const cli_noun_t  cli_client_noun;
extern const cli_noun_t  cli_pepper_noun;
extern const cli_noun_t  cli_import_noun;
extern const cli_noun_t  cli_export_noun;
extern const cli_noun_t  cli_audit_noun;
extern const cli_noun_t  cli_doctor_noun;
extern const cli_noun_t  cli_completion_noun;
extern const cli_noun_t  cli_man_noun;
extern const cli_noun_t  cli_explain_noun;


#endif /* CLI_NOUNS_H */
