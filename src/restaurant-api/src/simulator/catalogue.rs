//! The menu. Identifiers, names and prices never change, so that "what sells" is an answer and
//! not noise.

use std::sync::LazyLock;

use uuid::Uuid;

use super::sites::Meal;

/// Categories in the order of [`WEIGHTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Coffee,
    Breakfast,
    Appetizer,
    Salad,
    Sandwich,
    Burger,
    Pizza,
    Pasta,
    Entree,
    Dessert,
    Kids,
    Beverage,
    Alcohol,
}

/// How often a category is ordered, in percent, before the meal's taste.
const WEIGHTS: [(Category, u32); 13] = [
    (Category::Coffee, 5),
    (Category::Breakfast, 7),
    (Category::Appetizer, 8),
    (Category::Salad, 7),
    (Category::Sandwich, 8),
    (Category::Burger, 10),
    (Category::Pizza, 8),
    (Category::Pasta, 7),
    (Category::Entree, 18),
    (Category::Dessert, 6),
    (Category::Kids, 3),
    (Category::Beverage, 7),
    (Category::Alcohol, 6),
];

impl Category {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coffee => "coffee",
            Self::Breakfast => "breakfast",
            Self::Appetizer => "appetizer",
            Self::Salad => "salad",
            Self::Sandwich => "sandwich",
            Self::Burger => "burger",
            Self::Pizza => "pizza",
            Self::Pasta => "pasta",
            Self::Entree => "entree",
            Self::Dessert => "dessert",
            Self::Kids => "kids",
            Self::Beverage => "beverage",
            Self::Alcohol => "alcohol",
        }
    }

    /// The meal's taste for this category, in tenths.
    fn appetite(self, meal: Meal) -> u32 {
        match (meal, self) {
            (Meal::Morning, Self::Coffee) => 18,
            (Meal::Morning, Self::Breakfast) => 16,
            (Meal::Morning, Self::Dessert) => 6,
            (Meal::Morning, Self::Alcohol) => 2,
            (Meal::Midday, Self::Salad) => 13,
            (Meal::Midday, Self::Sandwich) => 14,
            (Meal::Midday, Self::Pizza) => 11,
            (Meal::Midday, Self::Beverage) => 12,
            (Meal::Evening, Self::Entree) => 17,
            (Meal::Evening, Self::Pasta) => 15,
            (Meal::Evening, Self::Burger) => 13,
            (Meal::Evening, Self::Alcohol) => 16,
            (Meal::Evening, Self::Dessert) => 12,
            _ => 10,
        }
    }
}

/// Weights of all categories at a meal, in tenths of a percent before normalising.
pub(super) fn category_weights(meal: Meal) -> [u32; 13] {
    WEIGHTS.map(|(category, weight)| weight * category.appetite(meal))
}

/// A dish or a drink.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    pub id: Uuid,
    pub category: Category,
    pub name: &'static str,
    pub price_cents: u32,
}

// The number is the item's identity: give a new item a new one, and never use one twice.
const MENU: [(u8, Category, &str, u32); 62] = [
    (1, Category::Coffee, "Drip Coffee", 250),
    (2, Category::Coffee, "Americano", 325),
    (3, Category::Coffee, "Cappuccino", 475),
    (4, Category::Coffee, "Maple Latte", 595),
    (5, Category::Coffee, "Espresso", 275),
    (6, Category::Breakfast, "Buttermilk Pancakes", 1195),
    (7, Category::Breakfast, "Peameal Bacon and Eggs", 1450),
    (8, Category::Breakfast, "Smoked Salmon Bagel", 1595),
    (9, Category::Breakfast, "Steel-Cut Oatmeal", 825),
    (10, Category::Breakfast, "Western Omelette", 1375),
    (11, Category::Appetizer, "Classic Poutine", 995),
    (12, Category::Appetizer, "Chicken Wings", 1550),
    (13, Category::Appetizer, "Jalapeño Cornbread", 795),
    (14, Category::Appetizer, "Crispy Calamari", 1495),
    (15, Category::Appetizer, "Garlic Cheese Bread", 875),
    (16, Category::Salad, "Caesar Salad", 1295),
    (17, Category::Salad, "Harvest Kale Salad", 1450),
    (18, Category::Salad, "Niçoise Salad", 1850),
    (19, Category::Salad, "Garden Salad", 950),
    (20, Category::Sandwich, "Montreal Smoked Meat", 1695),
    (21, Category::Sandwich, "Turkey Club", 1550),
    (22, Category::Sandwich, "Grilled Cheese", 1095),
    (23, Category::Sandwich, "Falafel Wrap", 1325),
    (24, Category::Sandwich, "Lobster Roll", 1875),
    (25, Category::Burger, "Classic Cheeseburger", 1495),
    (26, Category::Burger, "Maple Bacon Burger", 1795),
    (27, Category::Burger, "Mushroom Swiss Burger", 1695),
    (28, Category::Burger, "Garden Veggie Burger", 1375),
    (29, Category::Burger, "Double Smash Burger", 2095),
    (30, Category::Pizza, "Margherita", 1450),
    (31, Category::Pizza, "Pepperoni", 1695),
    (32, Category::Pizza, "Canadian", 1895),
    (33, Category::Pizza, "Quattro Formaggi", 2050),
    (34, Category::Pizza, "Prosciutto and Arugula", 2495),
    (35, Category::Pasta, "Spaghetti Pomodoro", 1395),
    (36, Category::Pasta, "Penne alla Vodka", 1750),
    (37, Category::Pasta, "Fettuccine Alfredo", 1850),
    (38, Category::Pasta, "Lasagna Bolognese", 2095),
    (39, Category::Pasta, "Linguine Vongole", 2550),
    (40, Category::Entree, "Roast Half Chicken", 2495),
    (41, Category::Entree, "Atlantic Salmon", 2895),
    (42, Category::Entree, "Striploin Steak", 3995),
    (43, Category::Entree, "Fish and Chips", 1995),
    (44, Category::Entree, "Braised Short Rib", 3450),
    (45, Category::Entree, "Shepherd's Pie", 1850),
    (46, Category::Entree, "Butter Chicken", 2150),
    (47, Category::Entree, "Cauliflower Steak", 1650),
    (48, Category::Dessert, "Butter Tart", 550),
    (49, Category::Dessert, "Crème Brûlée", 995),
    (50, Category::Dessert, "New York Cheesecake", 1050),
    (51, Category::Dessert, "Nanaimo Bar", 650),
    (52, Category::Kids, "Chicken Fingers", 1095),
    (53, Category::Kids, "Mac and Cheese", 895),
    (54, Category::Kids, "Mini Cheeseburger", 1150),
    (55, Category::Beverage, "Ginger Ale", 325),
    (56, Category::Beverage, "Sparkling Water", 395),
    (57, Category::Beverage, "Fresh Orange Juice", 550),
    (58, Category::Beverage, "Iced Tea", 350),
    (59, Category::Alcohol, "Ontario Lager Pint", 850),
    (60, Category::Alcohol, "Niagara Riesling Glass", 1250),
    (61, Category::Alcohol, "Caesar Cocktail", 1395),
    (62, Category::Alcohol, "Old Fashioned", 1595),
];

/// 2025-01-01T00:00:00Z in milliseconds: the moment in the identifiers of the menu.
const MENU_PRINTED_AT: u64 = 1_735_689_600_000;

struct Catalogue {
    items: Vec<Item>,
    /// First item of each category, and one past the last of all.
    starts: [usize; 14],
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let items: Vec<Item> = MENU
        .iter()
        .map(|&(number, category, name, price_cents)| Item {
            id: Uuid::from_u64_pair(
                (MENU_PRINTED_AT << 16) | 0x7000,
                (0b10 << 62) | u64::from(number),
            ),
            category,
            name,
            price_cents,
        })
        .collect();
    let mut starts = [items.len(); 14];
    for (index, item) in items.iter().enumerate().rev() {
        starts[item.category as usize] = index;
    }
    Catalogue { items, starts }
});

/// Every item of the menu.
pub fn menu() -> &'static [Item] {
    &CATALOGUE.items
}

/// The items of one category, by its index in the weights.
pub(super) fn items_of(category: usize) -> &'static [Item] {
    &CATALOGUE.items[CATALOGUE.starts[category]..CATALOGUE.starts[category + 1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_lie_in_the_range_of_their_category() {
        let range = |category| match category {
            Category::Coffee => 225..=600,
            Category::Breakfast => 800..=1600,
            Category::Appetizer => 700..=1600,
            Category::Salad => 900..=1900,
            Category::Sandwich => 1000..=1900,
            Category::Burger => 1200..=2200,
            Category::Pizza | Category::Pasta => 1200..=2600,
            Category::Entree => 1500..=4000,
            Category::Dessert => 500..=1200,
            Category::Kids => 700..=1200,
            Category::Beverage => 200..=600,
            Category::Alcohol => 600..=1600,
        };
        for item in menu() {
            assert!(range(item.category).contains(&item.price_cents), "{item:?}");
        }
    }

    #[test]
    fn identifiers_and_names_are_unique_and_need_no_escaping() {
        let ids: std::collections::HashSet<_> = menu().iter().map(|item| item.id).collect();
        let names: std::collections::HashSet<_> = menu().iter().map(|item| item.name).collect();
        assert_eq!((ids.len(), names.len()), (menu().len(), menu().len()));
        for item in menu() {
            assert_eq!(item.id.get_version_num(), 7);
            assert!(!item.name.contains(['"', '\\']) && !item.name.contains(char::is_control));
        }
    }

    #[test]
    fn each_category_finds_its_own_items() {
        for (index, (category, _)) in WEIGHTS.iter().enumerate() {
            let items = items_of(index);
            assert!(items.len() >= 3, "{category:?}");
            assert!(items.iter().all(|item| item.category == *category));
        }
    }
}
