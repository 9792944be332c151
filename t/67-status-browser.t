#!/usr/bin/perl

# The status page in a real browser: on a desktop and on a phone, light and dark,
# what is seen and what assistive technology is told, that it asks for nothing
# else and comes again by itself.

use strict;
use warnings;

use Test::More;

use OpsAuth::Browser;
use OpsAuth::Test;

plan skip_all => OpsAuth::Browser->missing if OpsAuth::Browser->missing;

my $t = OpsAuth::Test->new(workers => 2);
my $redis = $t->redis;
my $store = $t->store;
my $away = $t->port('AWAY');

$t->config_http(<<'CONF');
    opsauth_store main {
        redis %%REDIS%%; pepper_file %%PEPPER%%; cache 1m; redis_timeout 5s;
        key_prefix op365_sk_live_ environment=live checksum=crc32;
    }
    opsauth_store away { redis redis://127.0.0.1:%%PORT_AWAY%%; pepper_file %%PEPPER%%; cache 1m; }
    server {
        listen 127.0.0.1:%%PORT_8080%% reuseport;
        access_log %%TESTDIR%%/access.log;
        location /api   { opsauth main; opsauth_admin off; empty_gif; }
        location /away  { opsauth away; empty_gif; }
        location /scope { opsauth main; opsauth_admin off; opsauth_require scope=never:given; empty_gif; }
        location = /favicon.ico { return 204; }
        location = /status { opsauth_status html; }
    }
CONF
$t->start;

my $key = $store->issue(account => $store->account('acme'));
$t->parallel(50, 'GET', '/api', key => $key) for 1 .. 24;
$t->parallel(34, 'GET', '/api', key => $key);
$t->parallel(30, 'GET', '/api');
$t->parallel(12, 'GET', '/scope', key => $key);
$t->parallel(5, 'GET', '/api', key => $store->key);
$t->get('/away', key => $store->key) for 1 .. 3;

my $url = 'http://127.0.0.1:' . $t->port(8080) . '/status';
my $browser = OpsAuth::Browser->new(dir => "$t->{dir}/browser");
my $shots = $ENV{TEST_SCREENSHOTS};             # a directory to keep pictures in
sub shot { my ($name) = @_; $browser->screenshot("$shots/$name.png") if $shots }

# of WCAG 2
sub luminance {
    my ($css) = @_;
    my @c = map { $_ /= 255; $_ <= 0.03928 ? $_ / 12.92 : (($_ + 0.055) / 1.055) ** 2.4 } ($css =~ /(\d+)/g)[0 .. 2];
    return 0.2126 * $c[0] + 0.7152 * $c[1] + 0.0722 * $c[2];
}
sub contrast {
    my ($x, $y) = sort { $b <=> $a } map { luminance($_) } @_;
    return ($x + 0.05) / ($y + 0.05);
}

subtest 'what is seen' => sub {
    $browser->open("$url?refresh=0");
    is($browser->title, 'opsauth status', 'title');
    my $text = $browser->text;
    like($text, $_, "$_") for qr/Store main/, qr/Store away/, qr/Allowed\n1,234\b/, qr/Turned away\n47\n3\.7% of requests/,
        qr/missing 30\b/, qr/scope 12\b/, qr/unknown 5\b/, qr/Redis\nconnected/, qr/Redis\nnot connected/,
        qr/Feed of changes\ntracking\nall changes are known up to/, qr/not refreshed/;
    unlike($text, qr/key_|acme|op365/, 'no credential, no account');
    is_deeply([grep { !m{/favicon\.ico} } $browser->console], [], 'nothing that Chromium complains of');
    isnt($browser->find('dl div')->css('border-top-left-radius'), '0px', 'the style sheet is taken');
    is($browser->script('return performance.getEntriesByType("resource").filter(e => !e.name.endsWith("/favicon.ico")).length'), 0,
        'nothing else is asked for');
    shot('status-desktop');
};

subtest 'what is told' => sub {
    is($browser->find('html')->attribute('lang'), 'en', 'language');
    is($browser->find('main')->role, 'main', 'main');
    is_deeply([map { $_->tag } $browser->all('h1, h2')], ['h1', 'h2', 'h2'], 'headings');
    is_deeply([map { $_->role . ' ' . $_->label } $browser->all('main > section')], ['region Store main', 'region Store away'], 'stores are regions, by name');
    is($browser->find('table')->label, 'requests', 'a table has a name');
    is($browser->find('th')->role, 'rowheader', 'its rows have headers');
    is($browser->find('header a')->label, 'Refresh by itself', 'the link says what it does');
};

subtest 'can be read' => sub {
    for my $scheme (qw(light dark)) {
        $browser->dark($scheme eq 'dark');
        $browser->open("$url?refresh=0");
        my $back = $browser->find('body')->css('background-color');
        ok($scheme eq 'dark' ? luminance($back) < 0.1 : luminance($back) > 0.8, "$scheme: $back");
        my $card = $browser->find('dl div')->css('background-color');
        for my $selector ('dt', 'dd', 'dd span', 'th', 'th span', 'td', '.good', '.bad') {
            my $colour = $browser->find($selector)->css('color');
            cmp_ok(contrast($colour, $card), '>=', 4.5, "$scheme: $selector $colour");
        }
        cmp_ok(contrast($browser->find($_)->css('color'), $back), '>=', 4.5, "$scheme: $_") for 'h1', 'header p', 'a';
        for my $size ([1280, 900, 1, 'desktop'], [360, 740, 3, 'phone'], [320, 640, 2, 'small']) {
            my ($width, $height, $scale, $name) = @$size;
            $browser->size($width, $height, $scale);
            $browser->open("$url?refresh=0");
            cmp_ok($browser->script('return document.documentElement.scrollWidth'), '<=', $width, "$name: nothing to the right");
            cmp_ok($browser->find('td')->css('font-size') =~ s/px//r, '>=', 16, "$name: large enough");
            shot("status-$name-$scheme");
            if ($shots && $name eq 'phone') {
                $browser->script('window.scrollTo(0, 900)');
                shot("status-$name-$scheme-below");
            }
        }
        $browser->size(1280, 900, 1);
    }
    $browser->dark(0);
};

subtest 'by itself' => sub {
    my $page = sub { my $n = () = $t->read_file('access.log') =~ m{"GET /status(?:\?)? HTTP}g; return $n };
    $browser->open("$url?refresh=0");
    $browser->find('header a')->click;
    ok($browser->wait_for_text(qr/refreshed every 5 seconds/), 'a link starts it');
    my $before = $page->();
    ok(OpsAuth::Process->poll(30, sub { $page->() > $before }), 'it comes again');
    $t->parallel(10, 'GET', '/api', key => $key);
    ok($browser->wait_for_text(qr/Allowed\n1,244\b/, 30), 'with what happened since');
    $browser->find('header a')->click;
    ok($browser->wait_for_text(qr/not refreshed/), 'a link stops it');
};

$browser->stop;
$t->done;
