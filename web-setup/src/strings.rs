//! Every sentence that a person reads, in one place. A further language is a further `static` of the same type.

macro_rules! catalogue {
    ($($name:ident = $text:literal;)*) => {
        /// The sentences of one language. `{name}` stands for a value, see [`fill`].
        #[derive(Debug)]
        pub struct Strings { $(#[doc = $text] pub $name: &'static str,)* }
        /// English.
        pub static EN: Strings = Strings { $($name: $text,)* };
    };
}

/// Languages that the pages speak: BCP 47 tag and own name.
pub const LANGUAGES: [(&str, &str); 1] = [("en", "English")];

/// True when the pages speak it.
pub fn is_language(tag: &str) -> bool {
    LANGUAGES.iter().any(|(known, _)| *known == tag)
}

/// Puts values into a sentence: `fill("Hello {name}", &[("name", "Ada")])`.
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

catalogue! {
    product = "Hearth";
    skip_link = "Skip to content";
    footer = "Hearth \u{2013} a home cloud that belongs to you.";
    error_prefix = "Check your answer";
    back = "Back";
    go_on = "Continue";
    not_available = "not available";
    try_again = "Try again";
    to_start = "Go to the start page";

    step_of = "Step {n} of {count}";
    setup_progress = "Setup progress";
    step_welcome = "Welcome";
    step_name = "Name";
    step_time_zone = "Time zone";
    step_administrator = "Administrator";
    step_network = "Network";
    step_storage = "Storage";
    step_updates = "Updates";
    step_summary = "Summary";

    welcome_title = "Welcome to your Hearth";
    welcome_lead = "Let\u{2019}s set up this device together. It takes about three minutes, and you can go back and change any answer until the end.";
    welcome_point_private = "Everything stays on this device. No account, no company in between.";
    welcome_point_safe = "Your answers are kept if the power goes out or you switch to another device.";
    welcome_language = "Language";
    welcome_language_hint = "The language of these pages.";
    welcome_begin = "Begin";
    language_unknown = "Choose one of the languages in the list.";

    name_title = "Give your box a name";
    name_lead = "You will find it in your home network under this name.";
    name_label = "Name";
    name_hint = "Lower-case letters, digits and hyphens. The address becomes:";
    name_placeholder = "hearth";

    zone_title = "Where are you?";
    zone_lead = "The time zone decides when night-time updates happen and how times are shown.";
    zone_label = "Time zone";
    zone_hint = "Choose the city nearest to you in the same zone.";
    zone_search = "Search";
    zone_search_placeholder = "City, for example Paris";
    zone_matches = "Matches: {n}";
    zone_no_match = "No city matches. Try a larger one nearby.";
    zone_suggested = "Suggested by your browser: {zone}";
    zone_now = "It is now {time} there.";
    zone_choose = "Choose a time zone\u{2026}";
    zone_unknown = "This device does not know that time zone. Choose one from the list.";
    zone_other = "Other";

    admin_title = "Who looks after this box?";
    admin_lead = "Choose the name and password you will log in with. There is no default password and nobody else knows yours, so keep it safe.";
    admin_name = "User name";
    admin_name_hint = "Lower-case letters and digits, for example ada.";
    admin_password = "Password";
    admin_password_hint = "At least 8 characters. A few unrelated words make a strong password that is easy to remember.";
    admin_repeat = "Password, once more";
    admin_repeat_differs = "The two passwords are not the same. Type both again.";
    admin_password_empty = "Enter a password.";
    admin_password_short = "Use at least 8 characters.";
    admin_password_long = "Use at most 256 characters.";
    admin_password_weak = "This password is too easy to guess. Add one or two unrelated words.";
    admin_show = "Show";
    admin_hide = "Hide";
    admin_strength = "Strength";
    admin_strength_0 = "Very weak";
    admin_strength_1 = "Weak";
    admin_strength_2 = "Fair \u{2013} a little more, please";
    admin_strength_3 = "Good";
    admin_strength_4 = "Strong";
    admin_kept = "The administrator is set. Leave both password fields empty to keep the password.";
    admin_new_password = "New password (optional)";

    network_title = "Your network";
    network_lead = "This is how other devices in your home reach this box.";
    network_by_name = "By name";
    network_by_name_hint = "Works on most phones and computers once setup is finished.";
    network_by_address = "By address";
    network_by_address_hint = "Always works. Write it down in case the name does not.";
    network_none = "No address yet. If a cable is plugged in, wait a moment and reload this page.";
    network_wired = "Cable";
    network_wireless = "Wi-Fi";
    network_link = "Connected";
    network_no_link = "Not connected";
    network_megabits = "{n} Mbit/s";
    network_no_interfaces = "No network interface was found.";

    storage_title = "Storage";
    storage_lead = "Your data lives on the same card or disk as the system. Use all of it now, or later from the overview.";
    storage_disk = "Card or disk";
    storage_data = "Space for your data";
    storage_possible = "{size} are not used yet.";
    storage_growing = "Growing: {done} of {total}";
    storage_growing_hint = "You can continue; this goes on in the background. A power cut does no harm.";
    storage_complete = "Your data can use the whole card or disk.";
    storage_failed = "Growing stopped: {reason}";
    storage_grow = "Use the whole disk";
    storage_skip = "Not now";
    storage_unavailable = "The state of the disk is not available: {reason}. You can continue and grow later.";
    storage_error = "Growing could not be started: {reason}";

    updates_title = "Updates";
    updates_lead = "Updates keep this box safe. If one goes wrong, the box returns to the version before by itself.";
    updates_legend = "When should updates be installed?";
    updates_automatic = "Automatically at night";
    updates_automatic_hint = "Recommended. Downloaded and installed at night, with one restart if needed.";
    updates_notify = "Tell me first";
    updates_notify_hint = "You are told when there is an update and install it with one tap.";
    updates_manual = "Never by itself";
    updates_manual_hint = "You look for updates and install them yourself.";
    updates_unknown = "Choose one of the three.";

    summary_title = "Ready to finish";
    summary_lead = "Have a last look. When you finish, setup is locked until a factory reset.";
    summary_change = "Change";
    summary_change_what = "Change: {what}";
    summary_finish = "Finish setup";
    summary_language = "Language";
    summary_name = "Name";
    summary_zone = "Time zone";
    summary_administrator = "Administrator";
    summary_administrator_unknown = "Set, with a password";
    summary_storage = "Storage";
    summary_storage_grow = "Use the whole disk";
    summary_storage_later = "Grow later";
    summary_updates = "Updates";
    summary_failed = "Setup could not be finished: {reason}";
    summary_no_administrator = "The administrator\u{2019}s password is not stored. Please choose it again.";

    done_title = "Your box is ready";
    done_lead = "{name} is set up and belongs to you.";
    done_address = "From now on you reach it at";
    done_address_hint = "The new name can take a minute to be known in your network. The address you use now goes on working.";
    done_login = "Log in";

    stale_title = "Changed in another browser";
    stale_lead = "Someone \u{2013} perhaps you, on another device or in another tab \u{2013} went on with this setup after you opened the page. Your last answer was not saved. This is how it stands now:";
    stale_continue = "Continue from here";
    stale_nothing = "Not answered yet";

    claim_title = "Continue setup on this device";
    claim_lead = "Setup of this box was begun in another browser. To go on here, enter the administrator\u{2019}s name and password that were chosen there.";
    claim_button = "Continue here";
    claim_lost = "If nobody in your home knows them, start over: flash the card again.";

    locked_title = "Setup is finished";
    locked_sentence = "Setup of this box is finished and locked; log in instead, or use factory reset to start over.";

    closed_title = "This box needs your attention";
    closed_lead = "Something at this start leaves unknown whose box this is, so nobody can log in and setup is not offered.";
    closed_what = "What happened";
    closed_do = "What to do";
    closed_do_1 = "Switch the box off, wait ten seconds and switch it on again. Often that is all.";
    closed_do_2 = "If this page comes back, check that the card or disk sits firmly, and use a power supply that is strong enough.";
    closed_do_3 = "Nothing is written to your data while you see this page. If the card is worn out, copy it on a computer before you flash a new one.";

    login_title = "Log in";
    login_lead = "Log in to {name} as its administrator.";
    login_name = "User name";
    login_password = "Password";
    login_button = "Log in";
    login_wrong = "User name or password is not right.";
    login_name_empty = "Enter your user name.";
    login_password_empty = "Enter your password.";
    login_wait = "Too many wrong passwords. Wait {time}, then try again.";
    login_busy = "Other people are logging in at this moment. Try again in a few seconds.";
    login_unreachable = "The password cannot be checked at this moment. Try again in a few seconds.";
    login_ended = "You are logged out.";

    nav_label = "Main";
    nav_overview = "Overview";
    nav_updates = "Updates";
    nav_device = "Device";
    nav_logout = "Log out";

    dash_title = "Overview";
    dash_live = "Live";
    dash_paused = "Connection lost, trying again\u{2026}";
    dash_ended = "Your session is over. Reload the page to log in again.";
    dash_keys_title = "Development keys";
    dash_keys = "This image is signed with development keys that anyone can have. Use it for trying out, not for data that matters.";
    dash_healed_title = "The box mended its own start";
    dash_healed = "Both systems had failed to start too often and were given new tries. If this comes back, download a diagnosis bundle.";
    dash_repaired_title = "The data partition was mended";
    dash_repaired = "After a power cut or an unclean stop, the data partition was checked and repaired at this start.";
    dash_system = "System";
    dash_version = "Version";
    dash_slot = "Slot";
    dash_board = "Board";
    dash_uptime = "Running for";
    dash_clock = "Clock";
    dash_clock_ok = "Network time";
    dash_clock_waiting = "Waiting for network time";
    dash_temperature = "Temperature";
    dash_memory = "Memory";
    dash_memory_text = "{used} of {total} in use";
    dash_half_hour = "Last 30 minutes";
    dash_collecting = "A chart appears here after two minutes.";
    dash_storage = "Storage";
    dash_storage_free = "free";
    dash_storage_text = "{free} free of {total}";
    dash_network = "Network";
    dash_services = "Services";
    dash_services_ok = "None of the {n} services has failed.";
    dash_services_failed = "{n} of {count} services have failed.";
    dash_services_list = "Show all services";
    dash_running = "Running";
    dash_idle = "Idle";
    dash_changing = "Starting";
    dash_failed = "Failed";
    dash_boots = "Last starts";
    dash_boots_none = "No start was noted yet.";
    dash_boot_normal = "Normal";
    dash_boot_healed = "Healed";
    dash_boot_repaired = "Data repaired";
    dash_boot_slot = "Slot {slot}, version {version}";
    dash_boot_now = "This start";
    dash_boot_clock = "clock was not set";
    dash_why = "Why: {reason}";

    upd_title = "Updates";
    upd_version = "version {version}";
    upd_version_unnamed = "without a number";
    upd_no_answer = "The updater does not answer";
    upd_no_answer_hint = "It may be starting. This page shows it as soon as it answers; if it stays like this, restart the box.";
    upd_current = "This box is up to date";
    upd_unchecked = "Not looked for updates yet";
    upd_unchecked_lead = "Whether there is a newer version is not known yet.";
    upd_check_failed = "Could not look for updates";
    upd_check_failed_why = "The last attempt failed: {reason}";
    upd_checked = "Last looked: {time}";
    upd_check = "Look for updates";
    upd_check_unknown = "This version of the box cannot look for updates by itself. Install them from a USB stick.";
    upd_available = "Version {version} is available";
    upd_left_out = "Version {version} is left out";
    upd_left_out_lead = "The next version is offered again. You can also try this one once more.";
    upd_critical = "Important: install this soon";
    upd_changes = "What changes";
    upd_download = "Download";
    upd_download_part = "about {part} of {total}";
    upd_download_all = "at most {total}";
    upd_size = "Size";
    upd_channel = "Channel";
    upd_published = "Published";
    upd_policy_tonight = "You need to do nothing: it is installed tonight by itself.";
    upd_restart_when_done = "Restart as soon as it is installed";
    upd_restart_when_done_hint = "The box is away for about a minute. Without this it waits until you restart it.";
    upd_install_now = "Install now";
    upd_install_tonight = "Install tonight";
    upd_install_tonight_hint = "\u{201c}Install tonight\u{201d} downloads now and restarts at night.";
    upd_failed_before = "It was tried on this box and did not work: {reason}";
    upd_changed_meanwhile = "What is available has changed since you opened this page. Have a look and choose again.";
    upd_last_error = "The last installation came to nothing: {reason}";
    upd_installing = "Installing version {version}";
    upd_checking_bundle = "Checking the update";
    upd_checking_bundle_lead = "Its signature is checked before anything is written.";
    upd_verifying = "Checking version {version}";
    upd_in_place = "{done} of {total} in place";
    upd_read_back = "{done} of {total} read back";
    upd_fetched = "{size} downloaded";
    upd_left = "about {time} left";
    upd_installing_hint = "You can go on using the box. A power cut does no harm: it goes on where it stopped.";
    upd_reload = "Reload to see how far it is.";
    upd_cancel = "Cancel";
    upd_staged = "Version {version} is ready: restart to finish";
    upd_staged_now = "Version {version} is ready: the box restarts";
    upd_staged_tonight = "Version {version} starts tonight";
    upd_staged_waits = "Version {version} is ready, but cannot start yet";
    upd_staged_waits_lead = "It is installed and checked. Something stands in its way:";
    upd_staged_lead = "It is installed and checked. It starts with the next restart, whenever that is.";
    upd_staged_tonight_lead = "It is installed and checked. The box restarts at {time}.";
    upd_restart_now = "Restart now to finish";
    upd_restart_tonight = "Restart tonight";
    upd_not_tonight = "Not tonight";
    upd_give_up = "Give up this update";
    upd_restarting = "Restarting into version {version}";
    upd_restarting_lead = "This takes about a minute. Leave this page open: it tells you when the box is back.";
    upd_trying = "Version {version} has to prove itself";
    upd_trying_unnamed = "The version that runs has to prove itself";
    upd_trying_lead = "It runs. For a few minutes the box watches whether everything works; if not, it goes back to the version before by itself.";
    upd_good = "Version {version} is installed and works";
    upd_going_back = "Going back from version {version}";
    upd_rolled_back = "Version {version} did not work";
    upd_rolled_back_lead = "The box went back to version {version} by itself. Your data is as it was.";
    upd_reason = "What happened: {reason}";
    upd_reason_unknown = "What happened is not known.";
    upd_rolled_back_default = "Version {version} is not tried again by itself.";
    upd_try_again = "Try again";
    upd_try_again_usb = "Try again from the USB stick";
    upd_leave = "Do not try this version again";
    upd_unhealthy = "Version {version} does not run well";
    upd_unhealthy_lead = "There is no other version on this box to go back to. Install a newer one, and save a diagnosis bundle for whoever helps you.";
    upd_to_device = "To the diagnosis bundle";
    upd_installed = "Installed";
    upd_since = "Since";
    upd_since_image = "The box was flashed";
    upd_keys = "Signed with";
    upd_keys_development = "Development keys: for trying out only";
    upd_keys_release = "Release keys";
    upd_policy = "When to install";
    upd_policy_save = "Save";
    upd_policy_saved = "Saved.";
    upd_usb = "From a USB stick";
    upd_usb_lead = "Copy the update\u{2019}s file (it ends in .raucb) to a stick that is named HEARTH, plug it into the box, then press the button. Its signature is checked first.";
    upd_usb_button = "Install from the stick";
    upd_usb_busy = "Not while another update is being installed.";
    upd_before = "The version before";
    upd_before_is = "Slot {slot} holds {version}.";
    upd_before_version = "the version before this one";
    upd_before_lead = "You can go back to it. Your data stays.";
    upd_before_link = "Go back to the previous version\u{2026}";
    upd_before_not = "Not possible: {reason}";
    upd_before_installing = "slot {slot} is being filled with an update.";
    upd_before_staged = "slot {slot} holds an update that was not started yet. Give it up, or restart into it.";
    upd_before_restarting = "the box is restarting.";
    upd_before_trying = "this version has to prove itself first. Wait a few minutes.";
    upd_before_empty = "slot {slot} holds no complete version. The next update fills it; then this version is the one to go back to.";
    upd_before_bad = "the version in slot {slot} has not worked on this box.";
    upd_before_withdrawn = "the version in slot {slot} must not come back, for instance because of a security hole in it. Keep the version that runs; if something is wrong with it, a newer one will be offered here";
    upd_before_other = "not in this state. Wait until nothing is being installed.";
    upd_back_title = "Go back to {version}?";
    upd_back_1 = "The box restarts with {version}, from slot {slot}. It is away for about a minute.";
    upd_back_2 = "Your data and your settings stay as they are.";
    upd_back_3 = "Version {version} is not installed again by itself. You can install it again here.";
    upd_back_4 = "If {version} does not start, the box returns to this one by itself.";
    upd_back_button = "Restart and go back";
    upd_back_cancel = "Stay with this version";
    upd_history = "History";
    upd_history_none = "Nothing was installed since this box was flashed.";
    upd_history_more = "Show older entries ({n})";
    upd_history_zone = "Times are in {zone}.";
    upd_history_slot = "slot {slot}";
    upd_outcome_installed = "Installed";
    upd_outcome_good = "Works";
    upd_outcome_rolled_back = "Rolled back";
    upd_outcome_unhealthy = "Not well";
    upd_outcome_failed = "Not installed";
    upd_outcome_cancelled = "Cancelled";
    upd_outcome_went_back = "Went back";
    upd_outcome_marked = "Marked";
    upd_outcome_journal_lost = "Notes lost";
    upd_card = "Updates";
    upd_card_installed = "Version {version} in slot {slot}";
    upd_card_link = "Open updates";

    device_title = "Device";
    device_power = "Power";
    device_power_lead = "Always use these buttons before you pull the plug.";
    device_reboot = "Restart";
    device_power_off = "Power off";
    device_sessions = "Sessions";
    device_sessions_count = "Logged in at this moment: {n}";
    device_logout_all = "Log out everywhere";
    device_logout_all_hint = "Ends every session, this one too.";
    device_diagnosis = "Diagnosis bundle";
    device_diagnosis_lead = "One file with logs and states that helps when something is wrong. It contains no passwords and no keys.";
    device_diagnosis_button = "Download";
    device_reset = "Factory reset";
    device_reset_lead = "Erases everything that is stored on this box and returns to setup.";
    device_reset_link = "Factory reset\u{2026}";

    reset_title = "Factory reset";
    reset_lead = "This cannot be undone. You lose:";
    reset_loss_1 = "all data stored on this box";
    reset_loss_2 = "the administrator, name, time zone and every other setting";
    reset_loss_3 = "the history of this box, and its identity in the network";
    reset_keeps = "The installed version of the system stays.";
    reset_label = "To confirm, type the name of the box: {name}";
    reset_wrong = "This is not the name of the box. Type {name} exactly.";
    reset_button = "Erase everything";
    reset_cancel = "Cancel";

    failed_action = "That did not work: {reason}";
    wait_reboot_title = "Restarting";
    wait_reboot_lead = "The box is restarting. This takes about a minute. You can leave this page open; it tells you when the box is back.";
    wait_update_title = "Restarting into the new version";
    wait_back_title = "Going back";
    wait_reset_title = "Erasing everything";
    wait_reset_lead = "The box erases its data and restarts. Afterwards it waits for setup at http://hearth.local or at its address.";
    wait_status = "Waiting for the box\u{2026}";
    wait_down = "The box is restarting\u{2026}";
    wait_back = "The box is back.";
    wait_long = "This takes longer than usual. Check the power and the cable; this page goes on waiting.";
    wait_link = "Go on";
    off_title = "Powering off";
    off_lead = "Wait until the green light has stopped blinking for ten seconds, then you may pull the plug. To start again, plug it in.";

    not_found_title = "There is no such page";
    not_found_lead = "The address may be mistyped, or it belonged to setup, which is finished.";
    forbidden_title = "This form is too old";
    forbidden_lead = "The page was open for too long, came from another site, or cookies are switched off. Nothing was changed. Go back, reload and try again.";
    host_title = "Wrong address";
    host_lead = "This box answers only to its own name or its address. Use http://{name}.local or the address that the console shows.";
    bad_form_title = "This form could not be read";
    bad_form_lead = "Nothing was changed. Go back, reload the page and try again.";
    unavailable_title = "Not possible at this moment";
    unavailable_lead = "Nothing was changed. Wait a moment and try again.";
    unavailable_store = "The box cannot save your answers: {reason}. Check the card or disk, then restart the box.";
    call_absent = "The service that makes changes does not answer";
    method_title = "Not like this";
    method_lead = "This address does not take that kind of request.";

    day = "{n} day";
    days = "{n} days";
    hour = "{n} hour";
    hours = "{n} hours";
    minute = "{n} minute";
    minutes = "{n} minutes";
    second = "{n} second";
    seconds = "{n} seconds";
}

/// The sentences of a language; English when there is none.
pub fn strings(_language: &str) -> &'static Strings {
    &EN
}

/// Bytes as a person reads them on a package: decimal, three digits.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.decimals$}\u{a0}{}", UNITS[unit])
}

/// A time span in its two largest units.
pub fn duration(t: &Strings, seconds: u64) -> String {
    let count =
        |n: u64, one: &str, many: &str| fill(if n == 1 { one } else { many }, &[("n", &n.to_string())]);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = match (days, hours, minutes) {
        (0, 0, 0) => vec![count(seconds, t.second, t.seconds)],
        (0, 0, m) => vec![count(m, t.minute, t.minutes)],
        (0, h, m) => vec![count(h, t.hour, t.hours), count(m, t.minute, t.minutes)],
        (d, h, _) => vec![count(d, t.day, t.days), count(h, t.hour, t.hours)],
    };
    parts.join(" ")
}

/// Unix seconds as `2026-11-21 02:57 UTC` (days to civil date after H. Hinnant).
pub fn date_time(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds);
    let (hour, minute) = (unix_seconds / 3600 % 24, unix_seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Unix seconds as `2026-11-21`.
pub fn date(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds);
    format!("{year}-{month:02}-{day:02}")
}

fn civil(unix_seconds: u64) -> (u64, u64, u64) {
    let z = unix_seconds / 86_400 + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day_of_year - (153 * mp + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(bytes(31_914_983_424), "31.9\u{a0}GB");
        assert_eq!(bytes(999_600), "1.0\u{a0}MB");
        assert_eq!(bytes(12), "12\u{a0}B");
        assert_eq!(bytes(u64::MAX), "18446744\u{a0}TB");
        assert_eq!(duration(&EN, 1), "1 second");
        assert_eq!(duration(&EN, 61), "1 minute");
        assert_eq!(duration(&EN, 187_265), "2 days 4 hours");
        assert_eq!(date_time(1_795_229_820), "2026-11-21 02:57 UTC");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(0), "1970-01-01");
    }
}
