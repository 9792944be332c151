/*
 * opsauth token ...: access tokens, issued by hand. The token service of the
 * gateway makes the same records, and refresh tokens besides.
 */

#include "cli_credential.h"
#include "cli_nouns.h"
#include "cli_values.h"
#include "cli_wait.h"

#include <string.h>


static int token_issue(cli_t *cli);
static int token_revoke(cli_t *cli);


static const cli_option_t  issue_options[] = {
    { "account", 0, 0, "ID", "whose token it is" },
    { "permission", 0, 0, "WORD",
      "read (read:*), write (read:* write:*) or admin" },
    { "scope", 0, CLI_MANY, "SCOPE",
      "action:resource, such as read:tenants; may be repeated" },
    { "expires", 0, 0, "WHEN",
      "1h, 2027-01-31T18:30Z (default 1h)" },
    { "environment", 0, 0, "ENV", "live or test (default live)" },
    { "client", 0, 0, "ID", "the OAuth client that it is for" },
    { "subject", 0, 0, "TEXT", "the user that it acts for" },
    { "name", 0, 0, "TEXT", "what people call it" },
    { "ip", 0, CLI_MANY, "CIDR",
      "admit this address or network and no other;\nmay be repeated" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_option_t  list_options[] = {
    { "account", 0, 0, "ID", "whose tokens" },
    { "client", 0, 0, "ID", "only those of this client" },
    { NULL, 0, 0, NULL, NULL }
};


static const cli_option_t  revoke_options[] = {
    CLI_WAIT_OPTIONS,
    { NULL, 0, 0, NULL, NULL }
};


static const cli_verb_t  token_verbs[] = {
    { "issue", "--account ID", 0, 0,
      "make an access token and print it, this once", issue_options,
      "The new token goes alone to stdout, all that is said about it to "
      "stderr. With\n--json the object has it as \"token\". The store forgets "
      "a token one day after\nit has expired.\n"
      "\n"
      "  opsauth token issue --account crm --scope read:tenants --expires "
      "15m\n",
      token_issue },

    { "list", "--account ID", 0, 0,
      "list the tokens of an account, whoever issued them", list_options,
      "A refresh token has no id of its own; revoke its client, or the token "
      "itself.\n"
      "\n"
      "  opsauth token list --account crm\n"
      "  opsauth token list --account crm --client client_5Uq0YbJm2wNfRkZx "
      "--json\n",
      cli_token_list },

    { "revoke", "ID...", 1, 1024, "end tokens for good", revoke_options,
      "ID is the token's public id (tok_...). With - the tokens themselves are "
      "read\nfrom stdin, one a line: also refresh tokens, which end with all "
      "of their family and\nthe access tokens that these gave.\n"
      "\n"
      CLI_WAIT_TEXT
      "\n"
      "  opsauth token revoke tok_5Uq0YbJm2wNfRkZx --wait\n",
      token_revoke },

    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }
};


const cli_noun_t  cli_token_noun = {
    "token", "OAuth access tokens: issued by hand, listed, revoked",
    token_verbs, NULL
};


static int
token_issue(cli_t *cli)
{
    int        rc;
    cli_new_t  new;

    memset(&new, 0, sizeof(new));
    new.kind = &cli_kind_token;

    rc = cli_credential_options(cli, &new, "1h");

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "client", "client",
                       &new.client);
    }

    if (rc == CLI_OK) {
        rc = cli_value(cli, oa_credential_field_check, "subject", "subject",
                       &new.subject);
    }

    return (rc == CLI_OK) ? cli_credential_create(cli, &new) : rc;
}


static int
token_revoke(cli_t *cli)
{
    return cli_credential_revoke(cli, &cli_kind_token);
}
