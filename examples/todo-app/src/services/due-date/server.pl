#!/usr/bin/perl
# GET /?workingDays=3 answers {"dueOn":"2026-12-04"}: so many working days from
# today (UTC), or from ?from=2026-12-01. Needs only what every Debian has.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX qw(strftime);

$| = 1;
my $listener = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1,
) or die "cannot listen on $ENV{PORT}: $!\n";
$SIG{TERM} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';
print "due dates are served on port $ENV{PORT}\n";

while (my $client = $listener->accept) {
    # One that connects and says nothing must not keep the others waiting.
    eval {
        local $SIG{ALRM} = sub { die "too slow\n" };
        alarm 5;
        answer($client);
    };
    alarm 0;
    warn "a request failed: $@" if $@;
    close $client;
}

sub answer {
    my ($client) = @_;
    my $line = <$client> // return;
    while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($method, $path, $query) = $line =~ m{^([A-Z]+) ([^ ?]*)\??(\S*) HTTP/1} or return reply($client, 400, 'The request is not HTTP.');
    return reply($client, 200, '{"status":"healthy"}') if $path eq '/health';
    return reply($client, 404, 'There is nothing at this path.') if $path ne '/';
    return reply($client, 405, 'Only GET is taken.') if $method ne 'GET';
    my %query = map { my ($name, $value) = split /=/, $_, 2; ($name => $value // '') } split /&/, $query;
    my $days = $query{workingDays} // 1;
    return reply($client, 400, 'workingDays has to be a number from 0 to 1000.') if $days !~ /^\d{1,4}$/ || $days > 1000;
    # Noon: no change of the clock makes it another day.
    my $time = int(time / 86400) * 86400 + 43200;
    if (defined $query{from}) {
        my ($year, $month, $day) = $query{from} =~ /^(\d{4})-(\d\d)-(\d\d)$/ or return reply($client, 400, 'from has to be a date.');
        $ENV{TZ} = 'UTC';
        $time = POSIX::mktime(0, 0, 12, $day, $month - 1, $year - 1900);
    }
    while ($days > 0) {
        $time += 86400;
        my $weekday = (gmtime $time)[6];
        $days-- if $weekday != 0 && $weekday != 6;
    }
    reply($client, 200, strftime('{"dueOn":"%Y-%m-%d"}', gmtime $time));
}

sub reply {
    my ($client, $status, $body) = @_;
    my $type = 'application/json';
    if ($status >= 400) {
        $type = 'application/problem+json';
        $body = qq({"type":"about:blank","title":"Refused","status":$status,"detail":"$body"});
    }
    printf $client "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
        $status, $status < 400 ? 'OK' : 'Refused', $type, length $body, $body;
}
