/*
 * Nodes and slots of a cluster as workers share them: src/shm/ngx_opsauth_nodes.c
 */

#include "tap.h"

#include "../../src/shm/ngx_opsauth_coverage.c"
#include "../../src/shm/ngx_opsauth_nodes.c"


#define LEASE  100


static ngx_opsauth_nodes_t  nodes;
static u_char               map[OA_SLOTS];


static void
fresh(void)
{
    memset(&nodes, 0, sizeof(nodes));
    memset(map, 0, sizeof(map));
}


static ngx_uint_t
cell(const char *name, ngx_msec_t now)
{
    ngx_str_t  text;

    text.data = (u_char *) name;
    text.len = strlen(name);

    return ngx_opsauth_nodes_cell(&nodes, &text, now, LEASE);
}


static int
holds(ngx_uint_t slot, ngx_msec_t fetched_at, ngx_msec_t now)
{
    ngx_opsauth_coverage_view_t  view;

    ngx_opsauth_nodes_view(&nodes, slot, &view);

    return ngx_opsauth_coverage_holds(&view, fetched_at, now, LEASE);
}


static int
outdated(ngx_uint_t slot, ngx_msec_t fetched_at)
{
    ngx_opsauth_coverage_view_t  view;

    ngx_opsauth_nodes_view(&nodes, slot, &view);

    return ngx_opsauth_coverage_outdated(&view, fetched_at);
}


/* a feed of that cell from started on, and a certificate of each 10 ms */

static void
cover(ngx_uint_t c, ngx_msec_t started, ngx_msec_t until)
{
    ngx_msec_t  now;

    for (now = started; now <= until; now += 10) {
        (void) ngx_opsauth_coverage_certify(&nodes.cells[c], c, 1, started,
                                            now, now, LEASE);
    }
}


int
main(void)
{
    char        name[32];
    uint64_t    version, generation;
    ngx_uint_t  a, b, c, i, bad;

    /* cells */

    fresh();

    a = cell("10.0.0.1:7001", 1000);
    b = cell("10.0.0.2:7001", 1000);

    ok(a != 0 && b != 0 && a != b, "two nodes have two cells");
    is_int(cell("10.0.0.1:7001", 2000), a, "and keep them");
    is_int(cell("", 2000), 0, "nobody has none");
    is_int(ngx_opsauth_nodes_owner(&nodes, 5), 0, "nobody has a slot");
    is_int(ngx_opsauth_nodes_owner(&nodes, OA_SLOTS), 0, "nor one too many");
    ok(!holds(5, 1000, 1000), "and nothing of it is covered");

    /* a map */

    memset(map, (int) a, OA_SLOTS);
    memset(map + 8192, (int) b, OA_SLOTS - 8192);

    version = nodes.version;

    is_int(ngx_opsauth_nodes_learn(&nodes, map, 3, 1000, 1000), NGX_OK,
           "a map is learnt");
    ok(nodes.version != version, "and told");
    ok(ngx_opsauth_nodes_owner(&nodes, 0) == a
       && ngx_opsauth_nodes_owner(&nodes, 8191) == a
       && ngx_opsauth_nodes_owner(&nodes, 8192) == b
       && ngx_opsauth_nodes_owner(&nodes, 16383) == b, "as it is");

    version = nodes.version;
    (void) ngx_opsauth_nodes_learn(&nodes, map, 3, 1010, 1010);
    is_int(nodes.version, version, "the same once more is nothing new");

    /* each node covers its own */

    cover(a, 1100, 2000);

    ok(holds(1, 1500, 2000), "covered by its node");
    ok(!holds(9000, 1500, 2000), "that of another is not");
    ok(!holds(1, 1099, 2000), "nor what was read before its feed began");
    ok(!holds(1, 1500, 2101), "nor once its certificates end");

    /* one slot moves */

    cover(b, 1100, 2000);

    is_int(ngx_opsauth_nodes_move(&nodes, 1, b, a, 2000), NGX_DECLINED,
           "a node that has not got the slot gives none away");
    is_int(ngx_opsauth_nodes_move(&nodes, 1, a, 60, 2000), NGX_DECLINED,
           "nor to a node that nobody knows");
    is_int(ngx_opsauth_nodes_move(&nodes, OA_SLOTS, a, b, 2000), NGX_DECLINED,
           "nor one that there is not");
    is_int(ngx_opsauth_nodes_move(&nodes, 1, a, b, 2000), NGX_OK,
           "its own it does");

    ok(!holds(1, 1500, 2000) && outdated(1, 1500) && outdated(1, 2000),
       "what was read before is outdated, though the new one covers");
    ok(holds(1, 2001, 2010) && !outdated(1, 2001), "what is read later is not");
    ok(holds(2, 1500, 2000) && !outdated(2, 1500), "nor are its neighbours");

    (void) ngx_opsauth_nodes_move(&nodes, 1, b, a, 2050);
    cover(a, 1100, 2060);
    ok(!holds(1, 1500, 2060) && !holds(1, 2020, 2060) && holds(1, 2051, 2060),
       "and back: neither of the two stays is trusted");

    /* maps of the past */

    fresh();
    a = cell("a:1", 1000);
    b = cell("b:1", 1000);

    memset(map, (int) a, OA_SLOTS);
    (void) ngx_opsauth_nodes_learn(&nodes, map, 3, 1000, 1000);
    memset(map, (int) b, OA_SLOTS);
    (void) ngx_opsauth_nodes_learn(&nodes, map, 4, 5000, 5000);

    is_int(ngx_opsauth_nodes_owner(&nodes, 7), b, "after a failover");

    memset(map, (int) a, OA_SLOTS);
    is_int(ngx_opsauth_nodes_learn(&nodes, map, 3, 6000, 6000), NGX_DECLINED,
           "an earlier epoch is refused");
    is_int(ngx_opsauth_nodes_owner(&nodes, 7), b, "and changes nothing");
    is_int(ngx_opsauth_nodes_learn(&nodes, map, 4, 4900, 6000), NGX_OK,
           "what was asked earlier is no error");
    is_int(ngx_opsauth_nodes_owner(&nodes, 7), b, "and changes nothing");
    is_int(ngx_opsauth_nodes_learn(&nodes, map, 1, 70000, 70000), NGX_OK,
           "a cluster that was made anew is believed after a while");
    is_int(ngx_opsauth_nodes_owner(&nodes, 7), a, "as it is");

    /* a map that knows half of it, or more than there is */

    memset(map, 0, OA_SLOTS);
    map[7] = 255;
    map[8] = NGX_OPSAUTH_NODES_MAX;
    map[9] = (u_char) b;
    (void) ngx_opsauth_nodes_learn(&nodes, map, 1, 70010, 70010);
    ok(ngx_opsauth_nodes_owner(&nodes, 6) == a
       && ngx_opsauth_nodes_owner(&nodes, 7) == a
       && ngx_opsauth_nodes_owner(&nodes, 8) == a
       && ngx_opsauth_nodes_owner(&nodes, 9) == b, "leaves the rest alone");

    /* more nodes than cells: those without slots make room */

    fresh();
    bad = 0;

    for (i = 0; i < NGX_OPSAUTH_NODES_MAX; i++) {
        (void) snprintf(name, sizeof(name), "10.0.0.%u:1", (unsigned) i);
        bad += (cell(name, 1000) == 0);
    }

    is_int(bad, 0, "as many as there are cells");

    memset(map, (int) cell("10.0.0.0:1", 1000), OA_SLOTS);
    (void) ngx_opsauth_nodes_learn(&nodes, map, 1, 1000, 1000);
    cover(2, 1000, 2000);

    version = nodes.version;
    generation = nodes.nodes[2].generation;
    c = cell("10.1.0.0:1", 2000);

    is_int(c, 2, "one more takes the cell of one without slots");
    ok(nodes.nodes[2].generation != generation && nodes.version != version,
       "and that is told");
    is_int(nodes.cells[2].server, 0, "whose coverage is over");
    ok(!ngx_opsauth_coverage_outdated(&(ngx_opsauth_coverage_view_t) {
           0, 0, 0 }, 1500), "(nobody's floor)");
    is_int(ngx_opsauth_nodes_owner(&nodes, 1), cell("10.0.0.0:1", 2000),
           "the one with slots stays");

    for (i = 0; i < OA_SLOTS; i++) {
        map[i] = (u_char) (1 + i % NGX_OPSAUTH_NODES_MAX);
    }

    (void) ngx_opsauth_nodes_learn(&nodes, map, 1, 2000, 2000);
    is_int(cell("10.2.0.0:1", 2000), 0, "where all have slots there is none");

    /* damaged memory leads nowhere */

    memset(nodes.owners, 0xff, OA_SLOTS);
    is_int(ngx_opsauth_nodes_owner(&nodes, 3), 0, "a cell that there is not");
    ok(!holds(3, 1500, 2000), "covers nothing");

    return done_testing();
}
