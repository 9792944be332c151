/*
 * opsauth client delete: a client and all that it was given. It is switched
 * off first, so that it gets nothing more; then its refresh tokens and access
 * tokens become tombstones, then the record goes. Whoever repeats the command
 * after a crash finds what is left to do. What the gateway was issuing just
 * when the client was switched off is looked for once more at the end.
 */

#include "cli_client.h"
#include "cli_issued.h"
#include "cli_memory.h"
#include "cli_output.h"
#include "cli_text.h"
#include "cli_wait.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>


const cli_option_t  cli_client_delete_options[] = {
    { "yes", 0, 0, NULL, "don't ask" },
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};


static int
remove_attempt(cli_t *cli, void *data)
{
    oa_str_t       account;
    cli_change_t   change;
    cli_client_t  *client;

    client = data;
    account = client->values[CLI_CLIENT_ACCOUNT];
    cli_change_init(&change, cli);

    (void) cli_change_add(&change, "DEL",
                          cli_store_key(cli, "client:", client->id));
    cli_command_add(cli_change_add(&change, "SREM",
                                   cli_store_key(cli, "clients:", account)),
                    client->id);
    cli_change_audit(&change, "client.delete", client->id,
                     cli_format("account=%s", cli_text_safe(account)));

    return cli_change_commit(&change);
}


int
cli_client_remove(cli_t *cli, cli_client_t *client)
{
    return cli_store_retry(cli, remove_attempt, client);
}


static int
confirm(const cli_client_t *client)
{
    char  answer[16];

    fputs(cli_format("Delete the client %s (%s) of account %s and end all its "
                     "tokens for good? [y/N] ", cli_text_safe(client->id),
                     cli_quote(cli_record_get(&client->record, "name")),
                     cli_text_safe(cli_record_get(&client->record,
                                                  "account"))), stderr);

    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        answer[0] = '\0';
    }

    answer[strcspn(answer, "\r\n")] = '\0';

    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0) {
        return CLI_OK;
    }

    return cli_fail(CLI_FAILED, "nothing was changed");
}


/* off first. A record that is damaged can't be switched off, but can go */
static int
delete_run(cli_t *cli, cli_client_t *client, cli_ending_t *ending)
{
    int          rc;
    const char  *said;

    client->given[CLI_CLIENT_ENABLED] = cli_str("0");
    client->action = "client.set";

    cli_capture(&said);
    rc = cli_client_settle(client);
    cli_capture(NULL);

    rc = (rc == CLI_OK) ? cli_client_write(cli, client) : CLI_OK;
    client->values[CLI_CLIENT_ACCOUNT] = ending->account;

    if (rc == CLI_OK) {
        rc = cli_ending_read(ending);
    }

    if (rc == CLI_OK) {
        rc = cli_ending_revoke(ending);
    }

    if (rc == CLI_OK) {
        rc = cli_client_remove(cli, client);
    }

    if (rc == CLI_OK) {
        rc = cli_ending_read(ending);
    }

    return (rc == CLI_OK) ? cli_ending_revoke(ending) : rc;
}


static void
delete_print(cli_t *cli, const cli_client_t *client, const cli_ending_t *e)
{
    json_t  *object;

    if (cli->json) {
        object = json_object();
        json_object_set_new(object, "id", cli_json_str(client->id));
        json_object_set_new(object, "deleted", json_true());
        json_object_set_new(object, "revoked",
                    json_integer((json_int_t) (e->revoked + e->families)));
        cli_json_print(object);
        return;
    }

    cli_output_line(cli_str(cli_format("client %s deleted, %zu token%s "
                                       "revoked", cli_text_safe(client->id),
                                       e->revoked + e->families,
                                       (e->revoked + e->families == 1)
                                       ? "" : "s")));
}


int
cli_client_delete(cli_t *cli)
{
    int           rc;
    cli_client_t  client;
    cli_ending_t  ending;

    rc = cli_wait_check(cli);

    if (rc == CLI_OK && cli_option(&cli->options, "yes") == NULL
        && !isatty(STDIN_FILENO))
    {
        return cli_fail(CLI_USAGE, "this ends all tokens of the client for "
                        "good, and there is no terminal to ask on: give "
                        "--yes");
    }

    if (rc == CLI_OK) {
        rc = cli_client_find(cli, cli->options.words[0], &client);
    }

    if (rc == CLI_OK && cli_option(&cli->options, "yes") == NULL) {
        rc = confirm(&client);
    }

    if (rc != CLI_OK) {
        return rc;
    }

    memset(&ending, 0, sizeof(ending));
    ending.cli = cli;
    ending.account = cli_record_get(&client.record, "account");
    ending.client = client.id;
    ending.why = "which is deleted";

    rc = delete_run(cli, &client, &ending);

    if (rc != CLI_OK) {
        return cli_fail(rc, "the client %s is not deleted with all that it "
                        "has: run the same command again",
                        cli_quote(client.id));
    }

    delete_print(cli, &client, &ending);

    return cli_wait(cli);
}
